// Package confine starts this program again as a process that may do little: for work on
// what strangers sent, which may crash or be taken over without harm to the server.
//
// It owns the limits on memory, processor, files and time, what a process is refused
// (network, other programs, new processes, files beyond its directories), and that
// it ends with its parent. It does not know what the processes do or say; that is their
// callers' business.
//
// The parent calls Start, the process calls Enter before it touches anything strange.
package confine

import (
	"errors"
	"time"
)

// Limits bound a process. A field that is zero sets no limit.
type Limits struct {
	// Memory is how many bytes of memory of its own it may have. Mapped files do not count, nor
	// does address space that is only reserved: Go reserves more than a gigabyte at its start.
	Memory int64 `json:"memory,omitempty"`
	// CPU is the processor time, in whole seconds, rounded up; see Process.Allow.
	CPU time.Duration `json:"cpu,omitempty"`
	// Wall is how long the process may live. Start sees to it.
	Wall time.Duration `json:"wall,omitempty"`
	// Files is how many may be open at once, the three standard ones and about four of the runtime's included.
	Files uint64 `json:"files,omitempty"`
	// FileSize is the largest file that it may write, in bytes; a write beyond fails with EFBIG.
	FileSize int64 `json:"fileSize,omitempty"`
}

// Command says what to start.
type Command struct {
	// Path is the program; "" is this one, also after its file was replaced.
	Path string
	Args []string
	// Env is the whole environment. Nothing is inherited.
	Env []string
	// Limits: Start sees to Wall, the process itself to the others, in Enter.
	Limits Limits
	// Dir is its working directory.
	Dir string
	// Read and Write are the directories that it may read, and those in which it may also write, make
	// and remove files. All others are closed to it where the kernel has Landlock (see HidesFiles).
	Read, Write []string
}

// Ended says how a process ended that did not end well.
type Ended struct {
	// Reason is a phrase whose subject is the process: "ran out of memory".
	Reason string
	// Stderr is the beginning and the end of what it wrote there, at most 64 KiB.
	Stderr []byte
}

// Error gives the reason.
func (e *Ended) Error() string { return "the process " + e.Reason }

// ErrUnsupported says that this system or processor has no way to confine a process.
var ErrUnsupported = errors.New("processes can be confined on Linux with amd64 or arm64 processors only; run Berth there to scan images")
