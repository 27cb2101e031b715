package trails_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/audit/trails/verify"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestTrails(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		for _, c := range []struct {
			change func(*trails.Create)
			code   errs.Code
			text   string
		}{
			{func(c *trails.Create) { c.Name = "ab" }, errs.TrailNameInvalid, "Trail name too short. Minimum allowed length: 3 characters."},
			{func(c *trails.Create) { c.Name = strings.Repeat("a", 129) }, errs.TrailNameInvalid, "Trail name too long."},
			{func(c *trails.Create) { c.Name = "a b c" }, errs.TrailNameInvalid, "can only contain"},
			{func(c *trails.Create) { c.Name = "-abc" }, errs.TrailNameInvalid, "must starts with"},
			{func(c *trails.Create) { c.Name = "abc-" }, errs.TrailNameInvalid, "must ends with"},
			{func(c *trails.Create) { c.Name = "a-_c" }, errs.TrailNameInvalid, "adjacent"},
			{func(c *trails.Create) { c.Name = "192.168.5.4" }, errs.TrailNameInvalid, "IP address"},
			{func(c *trails.Create) { c.Bucket = "none" }, errs.TrailBucketMissing, `S3 bucket none does not exist! Trails write to the buckets and directories of the server's setting audit.buckets: ["logs"].`},
			{func(c *trails.Create) { c.Prefix = "a/../b" }, errs.InvalidParameter, "S3 key prefix"},
			{func(c *trails.Create) { c.Prefix = "AWSLogs/222222222222" }, errs.InvalidParameter, "S3 key prefix"},
			{func(c *trails.Create) { c.GlobalEvents = false }, errs.ParameterConflict, "Multi-Region trail must include global service events."},
		} {
			in := all("")
			c.change(&in)
			_, err := w.Create(ctx, in)
			w.refused(err, c.code, c.text)
		}
		made, err := w.Create(ctx, all("x/y/"))
		w.must(err)
		if got := made.ARN().String(); got != "arn:aws:cloudtrail:eu-west-1:111111111111:trail/all" {
			t.Error(got)
		}
		_, err = w.Create(ctx, all(""))
		w.refused(err, errs.TrailExists, "Trail all already exists for customer: 111111111111")
		away := name.Registry{Account: account, Region: north}
		in := all("")
		in.Home = away
		_, err = w.Create(ctx, in)
		w.refused(err, errs.TrailExists, "already exists") // its shadow is there

		for _, called := range []string{"all", made.ARN().String()} {
			for _, from := range []name.Registry{home, away} {
				got := w.find(from, called)
				if got.ID != made.ID || got.Prefix != "x/y" || got.Tags["a"] != "b" || !got.Validation || got.Logging {
					t.Errorf("%+v", got)
				}
			}
		}
		for _, c := range []struct{ called, text string }{
			{"none", "Unknown trail: none for the user: 111111111111"},
			{"arn:aws:cloudtrail:eu-north-1:111111111111:trail/all", "Unknown trail"},
			{"arn:aws:cloudtrail:eu-west-1:222222222222:trail/all", "Unknown trail"},
		} {
			_, err := w.Find(ctx, home, c.called)
			w.refused(err, errs.TrailNotFound, c.text)
		}
		_, err = w.Find(ctx, home, "arn:aws:s3:::all")
		w.refused(err, errs.TrailNameInvalid, "trail ARN")
		_, err = w.Find(ctx, name.Registry{Account: other, Region: west}, "all")
		w.refused(err, errs.TrailNotFound, "")

		w.refused(w.Start(ctx, away, "all"), errs.TrailHomeRegion, "home region eu-west-1")
		w.must(w.Start(ctx, home, "all"))
		if got := w.find(home, "all"); !got.Logging || got.StartedAt.IsZero() || !got.StoppedAt.IsZero() {
			t.Errorf("%+v", got)
		}
		w.must(w.Stop(ctx, home, "all"))
		no := false
		changed, err := w.Update(ctx, home, "all", trails.Change{MultiRegion: &no, Validation: &no, Prefix: new("")})
		w.must(err)
		if got := w.find(home, "all"); got.MultiRegion || got.Validation || got.Prefix != "" || got.Logging || changed.Prefix != "" || got.StoppedAt.IsZero() {
			t.Errorf("%+v", got)
		}
		_, err = w.Update(ctx, home, "all", trails.Change{Bucket: new("none")})
		w.refused(err, errs.TrailBucketMissing, "none")
		_, err = w.Create(ctx, in) // has no shadow in the way any more
		w.must(err)
		for i := range 3 {
			one := all("")
			one.Name = fmt.Sprintf("more%d", i)
			_, err = w.Create(ctx, one)
			w.must(err)
		}
		one := all("")
		one.Name = "toomany"
		_, err = w.Create(ctx, one)
		w.refused(err, errs.LimitExceeded, "User: 111111111111 already has 5 trails in eu-west-1.")
		listed, err := w.List(ctx, account)
		w.must(err)
		var names []string
		for _, l := range listed {
			names = append(names, string(l.HomeRegion)+" "+l.Name)
		}
		if !slices.Equal(names, []string{"eu-north-1 all", "eu-west-1 all", "eu-west-1 more0", "eu-west-1 more1", "eu-west-1 more2"}) {
			t.Errorf("%q", names)
		}
		w.must(w.Delete(ctx, home, "more0"))
		_, err = w.Find(ctx, home, "more0")
		w.refused(err, errs.TrailNotFound, "more0")
	})
}

func TestFilesAndDigests(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		w.record(account, west, "ecr.amazonaws.com", 3) // before there is a trail
		_, err := w.Create(ctx, all("pre"))
		w.must(err)
		w.must(w.Start(ctx, home, "all"))
		w.record(account, west, "ecr.amazonaws.com", 7)
		w.record(account, north, "ecr.amazonaws.com", 2)
		w.record(account, east, "ecr-public.amazonaws.com", 1)
		w.record(other, west, "ecr.amazonaws.com", 4)
		w.must(w.Deliver(ctx))
		w.once(10)
		files := w.keysOf("CloudTrail")
		day := w.clock.Now().Format("2006/01/02")
		if len(files) != 3 || !strings.HasPrefix(files[1], "pre/AWSLogs/111111111111/CloudTrail/eu-west-1/"+day+"/111111111111_CloudTrail_eu-west-1_"+w.clock.Now().Format("20060102T1504Z")+"_") {
			t.Errorf("%q", files)
		}
		if len(w.keysOf("CloudTrail-Digest")) != 0 {
			t.Error("digests are there before the hour is over")
		}
		if got := w.find(home, "all"); got.DeliveredAt.IsZero() || got.DeliveryError != "" || got.AttemptedAt.IsZero() || !got.DigestedAt.IsZero() {
			t.Errorf("%+v", got)
		}
		w.valid()

		w.clock.Advance(2 * time.Hour) // one hour with files, one without
		w.must(w.Deliver(ctx))
		digests := w.keysOf("CloudTrail-Digest")
		if len(digests) != 6 {
			t.Fatalf("%q", digests)
		}
		end := w.clock.Now().Add(-time.Hour)
		if want := "pre/AWSLogs/111111111111/CloudTrail-Digest/eu-west-1/" + end.Format("2006/01/02") + "/111111111111_CloudTrail-Digest_eu-west-1_all_eu-west-1_" + end.Format("20060102T150405Z") + ".json.gz"; digests[2] != want {
			t.Errorf("got  %s\nwant %s", digests[2], want)
		}
		var first, second trails.Content
		w.must(json.Unmarshal(w.read(digests[2]), &first))
		w.must(json.Unmarshal(w.read(digests[3]), &second))
		if len(first.Files) != 1 || first.Files[0].Object != files[1] || first.PreviousObject != nil || first.Newest == nil {
			t.Errorf("%+v", first)
		}
		if len(second.Files) != 0 || second.PreviousObject == nil || *second.PreviousObject != digests[2] || second.Newest != nil || second.Start != first.End {
			t.Errorf("%+v", second)
		}
		r := w.verify(true)
		if want := (verify.Report{Digests: 6, DigestsValid: 6, Files: 3, FilesValid: 3, Records: 10, Compared: 10, Problems: []verify.Finding{}, Notes: []verify.Finding{}}); fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("%+v", r)
		}
		w.valid()
		w.must(w.Deliver(ctx)) // changes nothing
		if got := len(w.keysOf("CloudTrail-Digest")) + len(w.keysOf("CloudTrail")); got != 9 {
			t.Errorf("%d objects", got)
		}

		// What was recorded before a stop is written, what comes between is not.
		w.record(account, west, "ecr.amazonaws.com", 5)
		w.must(w.Stop(ctx, home, "all"))
		w.record(account, west, "ecr.amazonaws.com", 50)
		w.must(w.Start(ctx, home, "all"))
		w.record(account, west, "ecr.amazonaws.com", 2)
		w.must(w.Deliver(ctx))
		w.once(17)
		w.must(w.Stop(ctx, home, "all"))
		w.must(w.Deliver(ctx))
		w.clock.Advance(10 * time.Hour)
		w.must(w.Deliver(ctx))
		if got := len(w.keysOf("CloudTrail-Digest")); got != 7 { // one for the last files, none while it is stopped
			t.Errorf("%d digests", got)
		}
		w.must(w.Start(ctx, home, "all"))
		w.clock.Advance(time.Hour)
		w.must(w.Deliver(ctx))
		if r := w.verify(false); !r.Valid() || len(r.Notes) != 3 || r.Notes[0].Kind != verify.Gap {
			t.Errorf("%+v", r)
		}
		w.valid()

		// The database forgets, the files stay and can be checked.
		if n, err := w.Expire(ctx, w.clock.Now().Add(time.Hour)); err != nil || n == 0 {
			t.Errorf("%d, %v", n, err)
		}
		w.clock.Advance(time.Hour)
		w.must(w.Deliver(ctx))
		w.valid()
	})
}

func TestSmallFilesAndGlobalEvents(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		w.Service = w.node(trails.Config{FileRecords: 4})
		in := all("")
		in.MultiRegion, in.GlobalEvents, in.Home.Region, in.Validation = false, false, east, false
		_, err := w.Create(ctx, in)
		w.must(err)
		w.must(w.Start(ctx, in.Home, "all"))
		w.record(account, east, "ecr.amazonaws.com", 8)
		w.record(account, east, "iam.amazonaws.com", 600) // more than a page
		w.record(account, east, "ecr.amazonaws.com", 2)
		w.must(w.Deliver(ctx))
		w.once(10)
		if got := len(w.keysOf("CloudTrail")); got != 3 {
			t.Errorf("%d files", got)
		}
		w.clock.Advance(2 * time.Hour)
		w.must(w.Deliver(ctx))
		if got := len(w.keysOf("CloudTrail-Digest")); got != 0 {
			t.Errorf("%d digests of a trail without validation", got)
		}
		w.valid()
		w.Service = w.node(trails.Config{FileBytes: 1})
		w.record(account, east, "ecr.amazonaws.com", 3)
		w.must(w.Deliver(ctx))
		w.once(13)
		if got := len(w.keysOf("CloudTrail")); got != 6 {
			t.Errorf("%d files", got)
		}
	})
}

// TestCutOff lets every write fail once, before and after it was done, as a node does that
// is killed.
func TestCutOff(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		for _, done := range []bool{false, true} {
			for left := range 5 { // two log files, and digests of three regions
				t.Run(fmt.Sprint(done, left), func(t *testing.T) {
					w, ctx := newWorld(t, db), t.Context()
					c := all("")
					c.Name = fmt.Sprintf("cut-%v%d", done, left)
					_, err := w.Create(ctx, c)
					w.must(err)
					defer func() { // the next one has the database too, and another keyring
						w.must(w.Delete(ctx, home, c.Name))
						w.must(db.Update(ctx, func(tx *sqldb.Tx) error {
							_, err := tx.Exec(ctx, `DELETE FROM trail_key`)
							return err
						}))
					}()
					w.must(w.Start(ctx, home, c.Name))
					w.record(account, west, "ecr.amazonaws.com", 3)
					w.record(account, north, "ecr.amazonaws.com", 3)
					w.store.set(left, done)
					first := w.Deliver(ctx)
					w.clock.Advance(time.Hour)
					second := w.Deliver(ctx)
					if !errors.Is(first, errStore) && !errors.Is(second, errStore) {
						t.Fatalf("%v, %v", first, second)
					}
					got := w.find(home, c.Name)
					if !strings.Contains(got.DeliveryError+got.DigestError, errStore.Error()) {
						t.Errorf("%+v", got)
					}
					w.store.set(-1, false)
					w.record(account, west, "ecr.amazonaws.com", 1)
					w.must(w.Deliver(ctx))
					if got := w.find(home, c.Name); got.DeliveryError+got.DigestError != "" {
						t.Errorf("%+v", got)
					}
					w.once(7)
					w.clock.Advance(time.Hour)
					w.must(w.Deliver(ctx))
					w.valid()
					if got := len(w.keysOf("CloudTrail-Digest")); got != 6 {
						t.Errorf("%d digests", got)
					}
				})
			}
		}
	})
}

// TestNodes has several nodes deliver at once while records come.
func TestNodes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := newWorld(t, db), t.Context()
		_, err := w.Create(ctx, all(""))
		w.must(err)
		w.must(w.Start(ctx, home, "all"))
		for range 5 {
			w.record(account, west, "ecr.amazonaws.com", 20)
			var nodes sync.WaitGroup
			for range 4 {
				s := w.node(trails.Config{FileRecords: 7})
				nodes.Go(func() {
					if err := s.Deliver(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			nodes.Wait()
			w.clock.Advance(30 * time.Minute)
		}
		w.must(w.Deliver(ctx))
		w.once(100)
		w.clock.Advance(time.Hour)
		w.must(w.Deliver(ctx))
		w.valid()
		public, err := w.PublicKeys(ctx)
		if w.must(err); len(public) != 1 {
			t.Errorf("%d keys", len(public))
		}
	})
}

func TestLateRecordsAreWaitedFor(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w, ctx := newWorld(t, db), t.Context()
	_, err := w.Create(ctx, all(""))
	w.must(err)
	w.must(w.Start(ctx, home, "all"))
	w.record(account, west, "ecr.amazonaws.com", 1)
	c := w.Config
	c.Margin = time.Hour
	w.must(trails.New(c).Deliver(ctx))
	w.once(0)
	w.must(w.Deliver(ctx))
	w.once(1)
}

func TestBucketThatIsGone(t *testing.T) {
	w, ctx := newWorld(t, sqldbtest.SQLite(t)), t.Context()
	_, err := w.Create(ctx, all(""))
	w.must(err)
	w.must(w.Start(ctx, home, "all"))
	w.record(account, west, "ecr.amazonaws.com", 1)
	delete(w.Buckets, "logs")
	w.refused(w.Deliver(ctx), errs.TrailBucketMissing, "which has none")
	if got := w.find(home, "all"); !strings.Contains(got.DeliveryError, "audit.buckets") {
		t.Errorf("%+v", got)
	}
}
