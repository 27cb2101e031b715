package layer

import (
	"errors"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestAnswerToTheCommitIsLost: whether the layer is there is not known when its
// push fails. Nothing may be removed that a row can name, the client's next try
// goes through, and what turns out to be garbage goes in the end.
func TestAnswerToTheCommitIsLost(t *testing.T) {
	for what, there := range map[string]bool{"it is there": true, "it is not": false} {
		t.Run(what, func(t *testing.T) {
			url := sqldbtest.PostgresURL(t)
			line := sqldbtest.NewLine(t, url)
			w := newWorld(t, sqldbtest.OpenPostgres(t, line.URL), sqldbtest.OpenPostgres(t, url), memory.New())
			ctx, s, r := t.Context(), w.node(), w.repo("app", "")
			b := random(1000)
			if there {
				line.CutAfterCommit("INSERT INTO blob ")
			} else {
				line.CutBeforeCommit("INSERT INTO blob ")
			}
			_, err := push(ctx, s, r, b)
			if !errors.Is(err, sqldb.ErrUncertain) || errs.CodeOf(err) != errs.Internal || line.Cuts() != 1 {
				t.Fatalf("the push returned %v after %d cuts", err, line.Cuts())
			}
			if len(w.objects()) != 1 {
				t.Errorf("objects %q, want the one that the row may name", w.objects())
			}
			_, err = s.Stat(ctx, r, name.SHA256(b))
			if there {
				w.must(err)
				w.holds(s, r, b)
			} else {
				w.wantCode(err, errs.LayersNotFound)
			}
			w.push(s, r, b)
			w.holds(s, r, b)
			if _, err := w.image(s, r, "", name.SHA256(b)); err != nil {
				t.Fatal(err)
			}
			// The row of the first upload expires.
			w.clock.Advance(25 * time.Hour)
			_, err = s.Expire(ctx)
			w.must(err)
			w.clock.Advance(50 * time.Hour)
			_, err = s.Collect(ctx)
			w.must(err)
			w.holds(s, r, b)
			if len(w.objects()) != 1 {
				t.Errorf("objects %q, want one", w.objects())
			}
			w.sound(s)
		})
	}
}
