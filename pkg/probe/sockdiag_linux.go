package probe

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

var sockDiagQuestion = question{"sock-diag", "socket tables (sock_diag)", func() Result {
	if err := CanSockDiag(); err != nil {
		return Result{
			Detail: err.Error(), Lost: "byte counts and socket cookies of the netlink sensor; /proc/net/tcp is read instead",
			Get: "use a kernel with CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG, or modprobe tcp_diag udp_diag",
		}
	}
	return Result{OK: true, Detail: "TCP and UDP"}
}}

var sockDestroyQuestion = question{"sock-destroy", "notices of closed sockets (sock_diag)", func() Result {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err == nil {
		defer conn.Close()
		const tcpDestroy = 1 // SKNLGRP_INET_TCP_DESTROY of include/uapi/linux/sock_diag.h
		err = conn.JoinGroup(tcpDestroy)
	}
	if err != nil {
		return Result{
			Detail: err.Error(), Lost: "connections of the netlink sensor that are shorter than its poll",
			Get: "run it as root on kernel 4.2 or later with CONFIG_INET_DIAG",
		}
	}
	return Result{OK: true}
}}

// CanSockDiag returns nil where sock_diag(7) lists TCP and UDP sockets.
func CanSockDiag() error {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, p := range []struct {
		number byte
		name   string
	}{{unix.IPPROTO_TCP, "TCP"}, {unix.IPPROTO_UDP, "UDP"}} {
		// struct inet_diag_req_v2; no state is asked for, so the list is empty.
		req := make([]byte, 56)
		req[0], req[1] = unix.AF_INET, p.number
		_, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump}, Data: req,
		})
		if err != nil {
			return fmt.Errorf("listing %s sockets: %w", p.name, err)
		}
	}
	return nil
}
