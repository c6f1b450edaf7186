//go:build !linux

package ebpf

import (
	"context"
	"errors"

	"github.com/org/edamame-posture/pkg/sensor"
)

// Sensor cannot be started on this system.
type Sensor struct{}

var errSystem = errors.New("the eBPF sensor needs Linux")

// New returns a sensor that Start refuses to start.
func New(Options) *Sensor { return &Sensor{} }

// Name returns "ebpf".
func (*Sensor) Name() string { return "ebpf" }

// Start says that the sensor needs Linux.
func (*Sensor) Start(context.Context, sensor.Sink) error { return errSystem }

// AwaitProbes does nothing.
func (*Sensor) AwaitProbes() {}

// Drain says that the sensor needs Linux.
func (*Sensor) Drain(context.Context) error { return errSystem }

// Check says that the sensor needs Linux.
func (*Sensor) Check() []string { return []string{errSystem.Error()} }

// Stats returns nothing.
func (*Sensor) Stats() sensor.Stats { return sensor.Stats{} }

// Close does nothing.
func (*Sensor) Close() error { return nil }
