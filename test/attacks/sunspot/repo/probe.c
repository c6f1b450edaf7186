#include <stdio.h>
int probe;
