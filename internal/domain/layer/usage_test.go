package layer

import (
	"bytes"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

func TestStorageQuotas(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		a, b, c := random(600), random(500), random(300)
		w.push(s, r, a)
		w.limits.RepositoryStorageBytes = 1000
		u, err := s.Start(ctx, r)
		w.must(err)
		_, err = s.Complete(ctx, r, u.ID, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
		w.wantText(err, errs.LimitExceeded, "The repository with name 'app' in registry with id '123456789012' would hold more than its storage quota of 1000 bytes. Delete images, or ask for a higher quota.")
		// What is there already takes no room, whatever is left.
		w.push(s, r, a)
		w.push(s, r, c)
		_, err = push(ctx, s, r, random(101))
		w.wantCode(err, errs.LimitExceeded)
		w.push(s, r, random(100))
		_, err = s.Start(ctx, r)
		w.wantCode(err, errs.LimitExceeded)

		// A mount takes room in the repository, and none in the registry.
		w.push(s, other, b)
		if _, err := w.image(s, r, "type", name.SHA256(a)); err != nil {
			t.Fatal(err)
		}
		_, _, err = s.Mount(ctx, r, other, name.SHA256(a))
		w.wantCode(err, errs.LimitExceeded)
		w.limits.RepositoryStorageBytes, w.limits.StorageBytes = 0, 1500
		if _, mounted, err := s.Mount(ctx, r, other, name.SHA256(a)); err != nil || !mounted {
			t.Errorf("%t %v", mounted, err)
		}
		_, err = push(ctx, s, other, random(1))
		w.wantText(err, errs.LimitExceeded, "The registry with id '123456789012' in region 'eu-west-1' would hold more than its storage quota of 1500 bytes. Delete images, or ask for a higher quota.")
		if n, err := s.Usage(ctx, testRegistry, nil); err != nil || n != 1500 {
			t.Errorf("%d %v", n, err)
		}
		if n, err := s.Usage(ctx, testRegistry, &other); err != nil || n != 1100 {
			t.Errorf("%d %v", n, err)
		}

		// What the collector removes is free again.
		w.clock.Advance(25 * time.Hour)
		if _, err := s.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		w.push(s, other, random(1))
	})
}
