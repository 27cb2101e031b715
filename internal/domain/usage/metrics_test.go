package usage

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/usage/metric"
)

// TestCounted: what two nodes count adds up, by account, region and minute.
func TestCounted(t *testing.T) {
	each(t, func(w *world) {
		other, begun := w.node(), w.clk.Now()
		for range 3 {
			w.s.Call(us, east, "ecr", "PutImage")
			other.Call(us, east, "ecr", "PutImage")
		}
		w.s.Call(us, west, "ecr", "PutImage")
		w.s.Call(them, east, "ecr", "PutImage")
		w.s.Call(us, east, "ecr", "DescribeImages") // AWS does not count it
		w.s.Call(us, east, "sts", "PutImage")
		w.s.Call(us, name.Public, "ecr", "PutImage")
		w.s.Call("", east, "ecr", "PutImage")
		w.s.Pull(here, "team/app")
		w.s.Pull(public, "team/app")
		w.flush(w.s)
		w.flush(other)
		w.clk.Advance(time.Minute)
		other.Call(us, east, "ecr", "PutImage")
		w.flush(other)
		w.flush(w.s) // nothing

		w.wants("by the minute", w.points(us, east, w.callsOf("PutImage"), begun, time.Minute), "12:02 1 6 6 6, 12:03 1 1 1 1")
		w.wants("by two", w.points(us, east, w.callsOf("PutImage"), begun, 2*time.Minute), "12:02 2 7 1 6")
		w.wants("by an hour before", w.points(us, east, w.callsOf("PutImage"), begun.Add(-time.Hour), time.Hour), "12:02 2 7 1 6")
		w.wants("elsewhere", w.points(us, west, w.callsOf("PutImage"), begun, time.Minute), "12:02 1 1 1 1")
		w.wants("others'", w.points(them, east, w.callsOf("PutImage"), begun, time.Minute), "12:02 1 1 1 1")
		w.wants("not counted", w.points(us, east, w.callsOf("DescribeImages"), begun, time.Minute), "")
		w.wants("pulls", w.points(us, east, w.pullsOf("team/app"), begun, time.Minute), "12:02 1 1 1 1")
		without := w.callsOf("PutImage")
		without.Dimensions = without.Dimensions[1:]
		w.wants("without the class", w.points(us, east, without, begun, time.Hour), "12:02 2 7 1 6")
		slices.Reverse(without.Dimensions)
		w.wants("in another order", w.points(us, east, without, begun, time.Hour), "12:02 2 7 1 6")
		without.Dimensions = without.Dimensions[1:]
		w.wants("without another", w.points(us, east, without, begun, time.Hour), "")
		for _, m := range []metric.Series{
			series(t, NamespaceECR, CallCount), series(t, NamespaceECR, RepositoryPullCount), series(t, "AWS/S3", CallCount),
			series(t, NamespaceECR, RepositoryPullCount, "RepositoryName", "team/app", "More", "1"),
			series(t, NamespaceECR, RepositoryPullCount, "RepositoryName", "team/app", "RepositoryName", "team/app"),
		} {
			w.wants(text(m), w.points(us, east, m, begun, time.Hour), "")
		}

		before, err := w.s.Points(t.Context(), us, east, w.callsOf("PutImage"), begun.Add(-time.Hour), begun.Truncate(time.Minute), time.Minute)
		w.must(err)
		part, err := w.s.Points(t.Context(), us, east, w.callsOf("PutImage"), begun, begun.Add(time.Second), 0)
		w.must(err)
		if len(before) != 0 || len(part) != 1 {
			t.Errorf("%d points before the first minute, and %d in it", len(before), len(part))
		}
	})
}

// TestList: the series that there are, by filters, in pages of any size.
func TestList(t *testing.T) {
	each(t, func(w *world) {
		w.make(here, "team/app")
		w.make(here, "team/web")
		w.make(public, "team/app")
		w.s.Call(us, east, "ecr", "PutImage")
		w.s.Call(us, east, "ecr", "BatchGetImage")
		for _, repo := range []name.Repository{"team/web", "team/app", "gone"} {
			w.s.Pull(here, repo)
		}
		w.flush(w.s)
		w.sample()
		all := []string{
			"AWS/Usage CallCount Class=None Resource=BatchGetImage Service=ECR Type=API",
			"AWS/Usage CallCount Class=None Resource=PutImage Service=ECR Type=API",
			"AWS/ECR RepositoryPullCount RepositoryName=gone",
			"AWS/ECR RepositoryPullCount RepositoryName=team/app",
			"AWS/ECR RepositoryPullCount RepositoryName=team/web",
			"AWS/Usage ResourceCount Class=None Resource=RepositoryCount Service=ECR Type=RESOURCE",
			"AWS/Usage ResourceCount Class=None Resource=ImagesPerRepositoryCount ResourceId=repository/team/app Service=ECR Type=RESOURCE",
			"AWS/Usage ResourceCount Class=None Resource=ImagesPerRepositoryCount ResourceId=repository/team/web Service=ECR Type=RESOURCE",
		}
		for page := 1; page < len(all)+2; page++ {
			if got := w.list(us, east, metric.Filter{}, page); !slices.Equal(got, all) {
				t.Errorf("in pages of %d:\n%s", page, strings.Join(got, "\n"))
			}
		}
		for _, c := range []struct {
			f    metric.Filter
			want []string
		}{
			{metric.Filter{Namespace: NamespaceECR}, all[2:5]},
			{metric.Filter{Name: ResourceCount}, all[5:]},
			{metric.Filter{Namespace: NamespaceECR, Name: CallCount}, nil},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "Resource", Value: "PutImage"}}}, all[1:2]},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "Service"}, {Name: "Type", Value: "RESOURCE"}}}, all[5:]},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "ResourceId"}}}, all[6:]},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "ResourceId", Value: "repository/team/web"}}}, all[7:]},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "ResourceId", Value: "team/web"}}}, nil},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "RepositoryName", Value: "team/app"}}}, all[3:4]},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "RepositoryName", Value: "team/app"}, {Name: "RepositoryName", Value: "gone"}}}, nil},
			{metric.Filter{Dimensions: []metric.Dimension{{Name: "Color"}}}, nil},
			{metric.Filter{Since: w.clk.Now().Add(2 * time.Hour)}, all[5:]}, // what still stands
		} {
			for _, page := range []int{1, 3, 100} {
				if got := w.list(us, east, c.f, page); !slices.Equal(got, c.want) {
					t.Errorf("%+v in pages of %d:\n%s", c.f, page, strings.Join(got, "\n"))
				}
			}
		}
		if got := w.list(them, east, metric.Filter{}, 10); got != nil {
			t.Errorf("others have %v", got)
		}
		for _, after := range []string{"x", "1", "0/a", "5/a", "a/b"} {
			if _, _, err := w.s.List(t.Context(), us, east, metric.Filter{}, after, 10); !errs.Is(err, errs.InvalidInput) {
				t.Errorf("a page after %q: %v", after, err)
			}
		}
	})
}

// TestGauges: numbers of repositories and images are kept as changes, and shown each five
// minutes; what is gone has no more points, and comes back with the same name.
func TestGauges(t *testing.T) {
	each(t, func(w *world) {
		begun := w.clk.Now()
		app := w.make(here, "app")
		w.make(public, "app") // ECR counts private ones
		w.images(app, 3)
		w.sample() // 12:00
		w.sample() // the same slot
		rows := w.number(`SELECT count(*) FROM usage_point`)
		for range 5 {
			w.clk.Advance(time.Minute)
			w.sample()
		}
		if n := w.number(`SELECT count(*) FROM usage_point`); n != rows || rows != 2 {
			t.Errorf("%d points after the first sample, %d after one without a change", rows, n)
		}
		w.images(app, 7) // 12:07, seen at 12:10
		w.clk.Advance(5 * time.Minute)
		w.sample()
		w.exec(`UPDATE repository SET deleted_at = 1 WHERE id = $1`, app.ID)
		w.clk.Advance(5 * time.Minute)
		w.sample() // 12:15
		w.clk.Advance(5 * time.Minute)
		w.exec(`UPDATE repository SET deleted_at = 0 WHERE id = $1`, app.ID)
		w.sample() // 12:20
		w.wants("images", w.points(us, east, w.imagesOf("app"), begun.Add(-time.Hour), 5*time.Minute), "11:57 1 3 3 3, 12:02 1 3 3 3, 12:07 1 7 7 7, 12:17 1 7 7 7")
		w.wants("by ten minutes", w.points(us, east, w.imagesOf("app"), begun.Truncate(time.Hour), 10*time.Minute), "12:00 2 6 3 3, 12:10 1 7 7 7, 12:20 1 7 7 7")
		w.wants("from where it stands", w.points(us, east, w.imagesOf("app"), begun.Truncate(time.Hour).Add(11*time.Minute), 10*time.Minute), "12:11 1 7 7 7")
		count := series(t, NamespaceUsage, ResourceCount, "Resource", RepositoryCount, "Service", "ECR", "Type", "RESOURCE")
		w.wants("repositories", w.points(us, east, count, begun.Truncate(time.Hour), time.Hour), "12:00 5 5 1 1")
		if got := w.list(us, east, metric.Filter{Name: ResourceCount}, 10); len(got) != 2 {
			t.Errorf("listed are %v", got)
		}
		w.exec(`UPDATE repository SET deleted_at = 1 WHERE id = $1`, app.ID)
		w.clk.Advance(5 * time.Minute)
		w.sample()
		w.clk.Advance(Keep + time.Hour)
		if got := w.list(us, east, metric.Filter{Name: ResourceCount}, 10); len(got) != 1 {
			t.Errorf("listed are %v after two weeks", got)
		}
	})
}

// TestGaugesAtRandom holds the points to what a look at each five minutes would have
// given.
func TestGaugesAtRandom(t *testing.T) {
	each(t, func(w *world) {
		seed := rand.Uint64()
		t.Log("seed", seed)
		random := rand.New(rand.NewPCG(seed, 1))
		app, saw := w.make(here, "app"), map[int64]int64{}
		begun := w.clk.Now()
		for range 60 {
			n := random.Int64N(3)
			w.images(app, n)
			w.sample()
			saw[floorDiv(minuteOf(w.clk.Now()), 5)*5] = n
			w.clk.Advance(5 * time.Minute)
		}
		w.sample()
		saw[floorDiv(minuteOf(w.clk.Now()), 5)*5] = w.number(`SELECT images FROM repository WHERE id = $1`, app.ID)
		for range 30 {
			from := begun.Add(time.Duration(random.IntN(300)) * time.Minute)
			to := from.Add(time.Duration(random.IntN(300)) * time.Minute)
			step := time.Duration(1+random.IntN(30)) * time.Minute
			points, err := w.s.Points(t.Context(), us, east, w.imagesOf("app"), from, to, step)
			w.must(err)
			want := map[int64]metric.Point{}
			for minute, n := range saw {
				if minute < minuteOf(from) || !timeOfMinute(minute).Before(to) {
					continue
				}
				start := minuteOf(from) + (minute-minuteOf(from))/int64(step/time.Minute)*int64(step/time.Minute)
				p, ok := want[start]
				if !ok {
					p.Minimum, p.Maximum = float64(n), float64(n)
				}
				p.Start = timeOfMinute(start)
				p.Samples++
				p.Sum += float64(n)
				p.Minimum, p.Maximum = min(p.Minimum, float64(n)), max(p.Maximum, float64(n))
				want[start] = p
			}
			if len(points) != len(want) {
				t.Fatalf("%s to %s by %s: %d points, want %d", from, to, step, len(points), len(want))
			}
			for _, p := range points {
				if p != want[minuteOf(p.Start)] {
					t.Fatalf("%s to %s by %s: %+v, want %+v", from, to, step, p, want[minuteOf(p.Start)])
				}
			}
		}
	})
}

// TestExpire: points go after two weeks, and series with them; a number that has not
// changed since is still known.
func TestExpire(t *testing.T) {
	each(t, func(w *world) {
		begun := w.clk.Now()
		app := w.make(here, "app")
		w.images(app, 3)
		w.sample()
		w.s.Pull(here, "app")
		w.s.Call(us, east, "ecr", "PutImage")
		w.flush(w.s)
		w.clk.Advance(5 * time.Minute)
		w.images(app, 4)
		w.sample()
		w.clk.Advance(Keep - 10*time.Minute)
		w.s.Call(us, east, "ecr", "PutImage")
		w.flush(w.s)
		w.must(w.s.Expire(t.Context()))
		if n := w.number(`SELECT count(*) FROM usage_point`); n != 6 {
			t.Errorf("%d points before two weeks, want 6", n)
		}
		w.clk.Advance(time.Hour + 10*time.Minute)
		w.must(w.s.Expire(t.Context()))
		if n := w.number(`SELECT count(*) FROM usage_point`); n != 3 {
			t.Errorf("%d points after two weeks, want a call and two numbers", n)
		}
		if n := w.number(`SELECT count(*) FROM usage_series WHERE metric = $1`, int64(pulls)); n != 0 {
			t.Error("a series without points is still there")
		}
		w.wants("calls", w.points(us, east, w.callsOf("PutImage"), begun, 30*24*time.Hour), "12:02 1 1 1 1")
		w.wants("images", w.points(us, east, w.imagesOf("app"), w.clk.Now().Add(-7*time.Minute), time.Minute), "13:00 1 4 4 4, 13:05 1 4 4 4")

		// Another node has nothing left to do in this hour.
		w.exec(`UPDATE usage_point SET minute = 0`)
		w.must(w.node().Expire(t.Context()))
		if n := w.number(`SELECT count(*) FROM usage_point WHERE minute = 0`); n != 3 {
			t.Error("two nodes have removed what is old in one hour")
		}
	})
}

// TestTasks: a task is done once for its slot, again after it failed, and by another node
// when who was at it is gone.
func TestTasks(t *testing.T) {
	each(t, func(w *world) {
		done := 0
		once := func(slot int64, err error) error {
			return w.node().once(t.Context(), taskExpire, slot, func() error {
				done++
				return err
			})
		}
		w.must(once(5, nil))
		w.must(once(5, nil))
		w.must(once(4, nil))
		if done != 1 {
			t.Fatalf("done %d times", done)
		}
		if err := once(6, context.DeadlineExceeded); err == nil {
			t.Error("a failure is no failure")
		}
		w.must(once(6, nil))
		if done != 3 {
			t.Fatalf("done %d times, want once more after a failure", done)
		}
		w.exec(`UPDATE usage_task SET leased_until = $1`, w.clk.Now().Add(lease).UnixMicro())
		w.must(once(7, nil))
		w.clk.Advance(lease)
		w.must(once(7, nil))
		if done != 4 {
			t.Errorf("done %d times, want once more after the lease", done)
		}
	})
}
