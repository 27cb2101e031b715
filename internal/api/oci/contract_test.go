package oci_test

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/domain/principal"
	contract "github.com/berth-registry/berth/test/contract/oci"
)

// TestContract runs the contract of the data plane over the domain as it is.
func TestContract(t *testing.T) {
	const stall = 400 * time.Millisecond
	w := newWorld(t, func(c *oci.Config) { c.Stall = stall })
	expired := w.token(t, account, region)
	w.clock.Advance(principal.TokenLife)
	contract.Run(t, contract.Target{
		BaseURL: w.url, Authorization: w.token(t, account, region), Repo1: "team/one", Repo2: "team/two", ImmutableRepo: "team/fixed",
		Refused: []string{w.token(t, account, other)}, Expired: expired, Foreign: w.token(t, foreign, region), Stall: stall,
	})
}
