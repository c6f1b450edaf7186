//go:build !linux

package netlink

import (
	"context"

	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/sensor"
)

// Sensor is the netlink sensor, which runs on Linux only.
type Sensor struct{ opt Options }

// New returns a sensor whose Start says that this is not Linux.
func New(opt Options) *Sensor { return &Sensor{opt.withDefaults()} }

// Name returns "netlink".
func (s *Sensor) Name() string { return "netlink" }

// Start returns an error.
func (s *Sensor) Start(context.Context, sensor.Sink) error { return probe.CanNetlink() }

// Drain returns an error.
func (s *Sensor) Drain(context.Context) error { return probe.CanNetlink() }

// Check says that nothing is armed.
func (s *Sensor) Check() []string { return []string{"netlink: not started"} }

// Stats returns zeroes.
func (s *Sensor) Stats() sensor.Stats { return sensor.Stats{} }

// TCPSockets returns an error.
func (s *Sensor) TCPSockets(func(TCPSocket)) (cut bool, err error) { return false, probe.CanNetlink() }

// Close does nothing.
func (s *Sensor) Close() error { return nil }
