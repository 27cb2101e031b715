package aws_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// TestPrepare: what an operation has to look up before anybody can be asked is looked up
// for callers that are known and admitted, and its failure is the answer.
func TestPrepare(t *testing.T) {
	h := newHarness(t)
	var steps []string
	step := func(s string) { steps = append(steps, s) }
	h.admit = func(*aws.Call) error { step("admit"); return nil }
	h.allow = func(authz.Request) error { step("allow"); return nil }
	h.needs = func(c *aws.Call, _ *dockInput) ([]authz.Need, error) {
		step("needs " + c.Registry.String())
		return []authz.Need{{Action: "dock:DockShip"}}, nil
	}
	h.dock = func(_ context.Context, c *aws.Call, _ *dockInput) (*dockOutput, error) {
		step("do " + c.Registry.String())
		return &dockOutput{Crew: []string{}}, nil
	}
	cfg := h.config()
	cfg.Services[0].Operations[0].Prepare = func(_ context.Context, c *aws.Call, in any) error {
		step("prepare " + c.Registry.String())
		if *in.(*dockInput).ShipName == "Unknown" {
			return errs.New(errs.InvalidParameter, "nobody knows it")
		}
		c.Registry = name.PublicRegistry("222222222222")
		return nil
	}
	pipeline, err := aws.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewServer(pipeline)
	t.Cleanup(h.server.Close)
	own := string(account) + "/eu-test-1"
	for _, c := range []struct {
		op, ship string
		status   int
		want     []string
	}{
		{"DockShip", "Vasa", 200, []string{"admit", "prepare " + own, "needs 222222222222/public", "allow", "do 222222222222/public"}},
		{"DockShip", "Unknown", 400, []string{"admit", "prepare " + own}},
		{"ListShips", "Vasa", 200, []string{"admit", "needs " + own, "allow", "do " + own}},
	} {
		steps = nil
		a := h.call(target+c.op, `{"shipName":"`+c.ship+`"}`)
		if a.status != c.status || !slices.Equal(steps, c.want) {
			t.Errorf("%s %s: %d %s, %q", c.op, c.ship, a.status, a.body, steps)
		}
	}
	if e := h.entries[1]; e.ErrorMessage != "nobody knows it" || e.Account != account || len(e.Resources) != 0 {
		t.Errorf("the trail has %+v", e)
	}
}
