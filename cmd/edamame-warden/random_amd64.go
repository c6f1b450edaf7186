package main

const sysGetrandom = 318 // getrandom(2), which package syscall has no name for here
