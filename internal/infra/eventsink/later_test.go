package eventsink_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

func TestMarks(t *testing.T) {
	cause := errors.New("no")
	err := fmt.Errorf("sending: %w", eventsink.Later(eventsink.Permanent(cause), time.Minute))
	if wait, ok := eventsink.Wait(err); !ok || wait != time.Minute {
		t.Errorf("%v %v", wait, ok)
	}
	if !eventsink.IsPermanent(err) || !errors.Is(err, cause) || err.Error() != "sending: no" {
		t.Errorf("%v", err)
	}
	if _, ok := eventsink.Wait(cause); ok || eventsink.IsPermanent(cause) {
		t.Error("an error without marks has one")
	}
	if eventsink.Later(nil, time.Minute) != nil || eventsink.Permanent(nil) != nil {
		t.Error("no failure is one")
	}
}
