//go:build linux

package main

func int80(nr, a, b, c uint32) int32
