package client_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/replication"
)

// TestARefusedLayerIsNotSentOn: a layer that somebody else is sending already is
// refused at once, not after much of it has come.
func TestARefusedLayerIsNotSentOn(t *testing.T) {
	_, there, to := pair(t)
	there.store.refuse = errs.New(errs.UploadBusy, "somebody else")
	_, b := layer(1, 1)
	b.Size = 64 << 20
	var sent atomic.Int64
	slow := readerFunc(func(p []byte) (int, error) { // 64 MiB a second at the most
		time.Sleep(time.Millisecond)
		p = p[:min(len(p), 64<<10)]
		sent.Add(int64(len(p)))
		return len(p), nil
	})
	for range 3 {
		want(t, to.PutBlob(t.Context(), place(), replication.Part{Blob: b}, slow), errs.UploadBusy, "somebody else")
	}
	if n := sent.Load(); n > 24<<20 {
		t.Errorf("%d bytes were sent of a layer that was refused three times", n)
	}
}
