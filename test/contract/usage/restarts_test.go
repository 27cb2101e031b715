package usage

import (
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestRestarts: SIGTERM writes down what was counted; SIGKILL loses what nothing has
// written down yet, and no more. That it is written down each minute, TestUsage shows.
func TestRestarts(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "app")
	r := s.Registry(t)
	r.PushImage(t, "app", "v1", 1, 5_000)
	c := home(s)
	again := func() {
		t.Helper()
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	const first, second, third = 7, 5, 4
	stopped := func(want int) {
		t.Helper()
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		again()
		if got := c.pulls(t, "app"); got != want {
			t.Errorf("after SIGTERM: %d pulls, want %d", got, want)
		}
	}
	pull(t, r, "app", first)
	stopped(first)

	pull(t, r, "app", second)
	s.Kill()
	again()
	kept := c.pulls(t, "app")
	if kept < first || kept > first+second {
		t.Errorf("after SIGKILL, right after %d more: %d pulls, want %d to %d", second, kept, first, first+second)
	}
	t.Logf("SIGKILL right after %d pulls lost %d of them", second, first+second-kept)

	pull(t, r, "app", third)
	stopped(kept + third)
	// Which is written down by itself, so that SIGKILL may have come in between.
	if rows := reportOf(t, s, "repository"); len(rows) != 1 || rows[0].Pulls < first+third || rows[0].Pulls > first+second+third {
		t.Errorf("berth usage: %+v, want about %d pulls", rows, kept+third)
	}
}

// TestNodes: what two nodes count adds up.
func TestNodes(t *testing.T) {
	t.Parallel()
	o := harness.Options{Shape: harness.ScaleOut}
	one := harness.Start(t, o)
	two := harness.StartNode(t, one, o)
	one.CreateRepository(t, "app")
	one.Registry(t).PushImage(t, "app", "v1", 1, 5_000)
	const ofOne, ofTwo = 6, 9
	pull(t, one.Registry(t), "app", ofOne)
	pull(t, two.Registry(t), "app", ofTwo)
	for _, s := range []*harness.Server{one, two} {
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := home(one)
	if got := c.pulls(t, "app"); got != ofOne+ofTwo {
		t.Errorf("%d pulls, want %d", got, ofOne+ofTwo)
	}
	if got := c.calls(t, "GetAuthorizationToken"); got != 3 {
		t.Errorf("%d calls of GetAuthorizationToken, want 3", got)
	}
	if rows := reportOf(t, one, "repository"); len(rows) != 1 || rows[0].Pulls != ofOne+ofTwo || rows[0].Pushes != 1 {
		t.Errorf("berth usage: %+v, want %d pulls and 1 push", rows, ofOne+ofTwo)
	}
}
