package obs

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// LogMode says which requests get a line in the log.
type LogMode string

// The modes. A request that failed through a fault of the service, with a status
// from 500, is logged at the level info, every other one at debug: clients can
// fill the log at will with those.
const (
	LogOff    LogMode = "off"
	LogErrors LogMode = "errors" // those with a status from 500
	LogAll    LogMode = "all"
)

// ParseLogMode reads a mode; "" is LogErrors.
func ParseLogMode(s string) (LogMode, error) {
	switch m := LogMode(s); m {
	case "":
		return LogErrors, nil
	case LogOff, LogErrors, LogAll:
		return m, nil
	}
	return "", fmt.Errorf("%q; choose off, errors or all", s)
}

// Entry is what the log says of one request. It has no place for what could be
// secret: no path, no query, no headers. Texts that are not known are "".
type Entry struct {
	RequestID string
	// API is the part of the program that answered; Operation the operation or
	// the kind of route.
	API, Operation string
	// Account is whose registry was addressed, Principal who asked.
	Account, Principal, Repository string
	Status                         int
	Code                           string // the error's name
	Received, Sent                 int64  // bytes of bodies
	Took                           time.Duration
	Client                         netip.Addr
	TraceID                        string
}

// RequestLog writes a line for each request. It is nil where nothing is logged.
type RequestLog struct {
	log *slog.Logger
	all bool
}

// NewRequestLog returns the log for a mode, nil for LogOff.
func NewRequestLog(log *slog.Logger, mode LogMode) *RequestLog {
	if mode == LogOff {
		return nil
	}
	return &RequestLog{log: log, all: mode == LogAll}
}

// Wants says whether a request that was answered with the status gets a line.
func (l *RequestLog) Wants(ctx context.Context, status int) bool {
	switch {
	case l == nil:
		return false
	case status >= http.StatusInternalServerError:
		return l.log.Enabled(ctx, slog.LevelInfo)
	}
	return l.all && l.log.Enabled(ctx, slog.LevelDebug)
}

// Write writes the line of a request that Wants has admitted.
func (l *RequestLog) Write(ctx context.Context, e Entry) {
	level := slog.LevelDebug
	if e.Status >= http.StatusInternalServerError {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.String("requestId", e.RequestID), slog.String("api", e.API), slog.String("operation", e.Operation),
		slog.Int("status", e.Status), slog.Int64("bytesIn", e.Received), slog.Int64("bytesOut", e.Sent),
		slog.Float64("seconds", e.Took.Seconds()),
	}
	for _, a := range []struct{ key, value string }{
		{"code", e.Code}, {"account", e.Account}, {"principal", e.Principal}, {"repository", e.Repository}, {"traceId", e.TraceID},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if e.Client.IsValid() {
		attrs = append(attrs, slog.String("sourceIp", e.Client.String()))
	}
	l.log.LogAttrs(ctx, level, "request", attrs...)
}
