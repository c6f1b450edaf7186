package main

import "syscall"

const sysGetrandom = syscall.SYS_GETRANDOM // getrandom(2)
