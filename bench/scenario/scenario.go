// Package scenario is what the benchmark asks of servers: one Scenario for each kind of
// load, with the bars that Berth has to reach in it. It prepares what a scenario needs,
// through the front door of each server, and does the single operations. When they are
// done, how many at once and for how long, is decided by the package load and by the
// program; which servers there are, by the package target.
package scenario

import (
	"context"
	"slices"
	"time"

	"github.com/berth-registry/berth/bench/load"
	"github.com/berth-registry/berth/bench/target"
)

// Scenario is one kind of load.
type Scenario struct {
	// Name is unique among all scenarios, such as "pull 64 MiB".
	Name string
	// Group is what a run can be narrowed to: pull, push, manifest, mixed, tags, api,
	// delete, start, memory or machine.
	Group string
	// Rate is what throughput is given in: "ops" (operations per second) or "bytes"
	// (MiB per second, and CPU time per GiB).
	Rate string
	// Clients are the numbers of clients to measure with; nil is 1, 16 and 128.
	Clients []int
	// Own says that each measurement wants a server with an empty store of its own, which
	// is removed afterwards: the store grows by gigabytes, or the state of the process is
	// what is measured.
	Own bool
	// Room is how many bytes of disk each client needs at least, 0 for hardly any. A
	// number of clients for which there is no room is left out.
	Room int64
	// AtLeast is how many operations a measurement has, however long they take; 0 is one
	// for each client.
	AtLeast int64
	// For says which servers can do it; nil is all registries.
	For func(s *target.Server) bool
	// Prepare makes what the operations need. It is called once for each server, and
	// is not measured. nil is nothing to prepare.
	Prepare func(ctx context.Context, w *World) error
	// Op is one operation; it returns how many bytes of content it has moved.
	Op func(ctx context.Context, w *World, c *load.Worker) (int64, error)
	// Measure is there in place of Op for what is not an operation that repeats.
	// CPU time and peak memory are filled in by the caller where it leaves them 0, except
	// for the machine's own, which have no server.
	Measure func(ctx context.Context, w *World, clients int) (load.Sample, error)
	// Quick is part of the short form that compares two builds of Berth.
	Quick bool
	// Bars are what is asked of Berth here.
	Bars []Bar
}

// Machine is the name that the limits of the machine are reported under; they are
// scenarios of the group "machine" and are measured without a server.
const Machine = "machine"

// Runs says whether the scenario is for this server; nil is the machine itself.
func (s *Scenario) Runs(on *target.Server) bool {
	switch {
	case on == nil || s.Group == Machine:
		return on == nil && s.Group == Machine
	case s.For != nil:
		return s.For(on)
	}
	return registry(on)
}

// Counts are the numbers of clients to measure with.
func (s *Scenario) Counts() []int {
	if s.Clients == nil {
		return []int{1, 16, 128}
	}
	return slices.Clone(s.Clients)
}

// All are all scenarios, in the order in which they are to run: those that share what
// was prepared stand together. long adds those that take many minutes to prepare, and
// the largest numbers of clients.
func All(long bool) []Scenario {
	return slices.Concat(machine(), manifests(), blobPulls(long), mixed(), lists(long), calls(long), pushes(long), memory(), starts(long), deletes(long))
}

// registry is what speaks the distribution API.
func registry(s *target.Server) bool { return blobs(s) && !s.Blobs }

// blobs is what takes and gives blobs as the distribution API says.
func blobs(s *target.Server) bool { return s.Root == "" }

// signed is what has the signed API.
func signed(s *target.Server) bool { return s.API != nil }

// anything is every server, file servers included.
func anything(*target.Server) bool { return true }

// once is a sample of something that happened a single time.
func once(took time.Duration) load.Sample {
	return load.Sample{Ops: 1, Elapsed: took, P50: took, P99: took}
}
