// Package worker has layers read and packages matched in processes of their own, so
// that an image which breaks the reader breaks nothing else.
//
// It owns the processes: how many there are, what is said to them and back, and what is
// told of one that dies. What they may do is infra/confine's, what they compute
// inventory/read's and match's; when a scan is due, and what its failure means, is scan's.
//
// # What is said
//
// Both sides send frames: a byte that says what it is, four bytes of length, big-endian, and the
// content. The server begins with the limits and gets an answer once the process is confined and has
// opened its database. Then it asks, one thing at a time, and gets one answer each; a process that has rested is asked first whether it
// is there, as something may have killed it. A layer follows its
// question in pieces, up to an end, or to word that the rest cannot be had.
// The process ends when its input does.
package worker

import (
	"errors"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/confine"
)

const (
	// Argument is the command of the program that runs Main.
	Argument = "scan-worker"

	// maxLayers is how many layers one process reads before another takes its place.
	maxLayers = 64
	// idleReader and idleMatcher are how long a process may have nothing to do. A matcher
	// maps a large database, which is better kept.
	idleReader  = time.Minute
	idleMatcher = 15 * time.Minute
	// startTime is how long a process may take to be ready, on a machine that is busy.
	startTime = 2 * time.Minute
	// minRate is how many bytes of a layer, as it is stored, a process must take in a second,
	// beyond the time that every layer has. Ordinary ones are taken a hundred times as fast.
	minRate = 4 << 20
	// processors is how many a process may use.
	processors = 4
)

// DefaultLimits are for one process: memory that holds an inventory of 100,000 packages
// several times, files of the reader's 1 GiB and some more. The times hold for one request;
// a layer has a second more for every 4 MiB.
func DefaultLimits() confine.Limits {
	return confine.Limits{Memory: 2 << 30, CPU: 10 * time.Minute, Wall: 15 * time.Minute, Files: 64, FileSize: 1<<30 + 64<<20}
}

// Config says how processes are started.
type Config struct {
	// Command is the program and its leading arguments; without one, this program's Argument.
	Command []string
	// Readers is how many processes read layers at most; less than one is one.
	Readers int
	// Limits of each process, by default DefaultLimits. CPU and Wall hold for each request.
	Limits confine.Limits
	// Spool is the directory in which each process has one of its own for large files; by
	// default the system's for temporary files. What a server that was killed left there is removed.
	Spool string
	Log   *slog.Logger
	// Clock tells for the log how long requests took.
	Clock clock.Clock
}

// Refused says that the input is bad: another try will end the same way.
type Refused struct {
	// Reason is a sentence without its period, fit for users: "the layer is not a tar archive".
	Reason string
}

func (e *Refused) Error() string { return e.Reason }

// Crashed says that the process did not answer: it died, was stopped by its limits,
// or answered nonsense. It has no effect on other requests.
type Crashed struct {
	// Reason is a sentence without its period, fit for users: "the scanner ran out of memory".
	Reason string
}

func (e *Crashed) Error() string { return e.Reason }

// ErrClosed is returned once the pool is closed, by requests under way as well.
var ErrClosed = errors.New("worker: the server is shutting down")
