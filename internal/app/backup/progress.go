package backup

import (
	"sync"
	"time"
)

// Line is one line of the report of a run: progress, or a note.
type Line struct {
	What string `json:"what,omitempty"` // objects, rows
	// Done of Total; Total is 0 while it is not known.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Bytes were read or written for it so far, PerSecond since it began.
	Bytes     int64  `json:"bytes,omitempty"`
	PerSecond int64  `json:"bytesPerSecond,omitempty"`
	Note      string `json:"note,omitempty"`
}

// progressEvery bounds how often a run reports progress.
const progressEvery = time.Second

// meter counts what is done and reports it, at most once in progressEvery. A nil
// report is allowed. It may be used by many goroutines.
type meter struct {
	what   string
	total  int64
	report func(Line)

	mu          sync.Mutex
	begun, last time.Time
	done, bytes int64
}

func newMeter(what string, total int64, report func(Line)) *meter {
	now := time.Now()
	return &meter{what: what, total: total, report: report, begun: now, last: now}
}

// add counts items and bytes.
func (m *meter) add(items, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += items
	m.bytes += bytes
	now := time.Now()
	if m.report == nil || now.Sub(m.last) < progressEvery {
		return
	}
	m.last = now
	m.report(Line{What: m.what, Done: m.done, Total: m.total, Bytes: m.bytes, PerSecond: int64(float64(m.bytes) / now.Sub(m.begun).Seconds())})
}

// Write counts bytes as they pass.
func (m *meter) Write(p []byte) (int, error) {
	m.add(0, int64(len(p)))
	return len(p), nil
}

func note(report func(Line), text string) {
	if report != nil {
		report(Line{Note: text})
	}
}
