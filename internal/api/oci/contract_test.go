package oci_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/domain/principal"
	contract "github.com/berth-registry/berth/test/contract/oci"
)

// contractStall is how long a transfer may stand still where slow clients are tried.
const contractStall = 400 * time.Millisecond

// runContract runs the contract: all but the slow clients against a server that is as
// patient as usual, since on a busy machine the others are slow too.
func runContract(t *testing.T, target func(stall time.Duration) contract.Target) {
	t.Helper()
	contract.Run(t, target(0))
	contract.Run(t, target(contractStall))
}

// TestContract runs the contract of the data plane over the domain as it is.
func TestContract(t *testing.T) {
	runContract(t, func(stall time.Duration) contract.Target {
		return newWorld(t, func(c *oci.Config) { c.Stall = stall }).target(t, stall)
	})
}

// TestContractOverHTTP2 does so over a protocol whose deadlines and broken
// bodies are another implementation's.
func TestContractOverHTTP2(t *testing.T) {
	runContract(t, func(stall time.Duration) contract.Target {
		w := newWorld(t, func(c *oci.Config) { c.Stall = stall })
		server := w.overHTTP2(t)
		target := w.target(t, stall)
		target.BaseURL, target.Client = server.URL, server.Client()
		resp, err := target.Client.Get(server.URL + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.ProtoMajor != 2 {
			t.Fatalf("the server speaks %s: %v", resp.Proto, err)
		}
		target.Client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return target
	})
}

func (w *world) target(t *testing.T, stall time.Duration) contract.Target {
	t.Helper()
	expired := w.token(t, account, region)
	w.clock.Advance(principal.TokenLife)
	return contract.Target{
		BaseURL: w.url, Authorization: w.token(t, account, region), Repo1: "team/one", Repo2: "team/two", ImmutableRepo: "team/fixed",
		Refused: []string{w.token(t, account, other)}, Expired: expired, Foreign: w.token(t, foreign, region), Stall: stall,
	}
}
