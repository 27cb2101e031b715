package console_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
)

func TestConsole(t *testing.T) {
	var b strings.Builder
	if err := console.JSON(&b, map[string]string{"a": "<b>"}); err != nil || b.String() != "{\n  \"a\": \"<b>\"\n}\n" {
		t.Errorf("%q %v", b.String(), err)
	}
	if err := console.JSON(&b, func() {}); err == nil {
		t.Error("a function has no JSON")
	}
	if got := console.Minute(time.Date(2026, 1, 2, 3, 4, 59, 0, time.FixedZone("", 3600))); got != "2026-01-02 02:04" {
		t.Error(got)
	}
	if got := console.Plain("a\x1b[31mb\tü\r\n"); got != "a\uFFFD[31mb\uFFFDü\uFFFD\uFFFD" {
		t.Errorf("%q", got)
	}
	b.Reset()
	table := console.NewTable(&b, "NAME", "KIND")
	table.Row("a\tb", "")
	if err := table.Flush(); err != nil || b.String() != "NAME  KIND\na?b   -\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}
