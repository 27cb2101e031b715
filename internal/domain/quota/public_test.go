package quota

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestOfAddress(t *testing.T) {
	for text, want := range map[string]name.AccountID{
		"192.0.2.7":           "192.0.2.7",
		"::ffff:192.0.2.7":    "192.0.2.7",
		"2001:db8:1:2:3:4::5": "2001:db8:1:2::/64",
		"2001:db8:1:2::9":     "2001:db8:1:2::/64",
		"2001:db8:1:3::9":     "2001:db8:1:3::/64",
		"fe80::1%eth0":        "fe80::/64",
	} {
		if got := OfAddress(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestWith(t *testing.T) {
	all := ECRRates()
	changed := all.With(AnonymousPull, 7).With(WorkloadPull, 0)
	if all[AnonymousPull] != 1 || all[WorkloadPull] != 10 {
		t.Errorf("With has changed what it was called on: %v", all)
	}
	if changed[AnonymousPull] != 7 || changed[WorkloadPull] != 0 || changed["PutImage"] != all["PutImage"] {
		t.Errorf("With gives %v", changed)
	}
	if got := Rates(nil).With(PublicPull, 3); got[PublicPull] != 3 || len(got) != 1 {
		t.Errorf("With of nothing gives %v", got)
	}
}

// TestPublicRates: rates of public registries are set per account, but for those of
// addresses, and are apart from the private ones of the same operation.
func TestPublicRates(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db)
		clk := clock.NewFake(time.Unix(0, 0))
		s := New(Config{DB: db, Clock: clk, Log: quiet, Rates: Rates{"PutImage": 50, AnonymousPull: 1}})
		if err := s.Set(t.Context(), account, "", "rate:ecr-public:PutImage", 3); err != nil {
			t.Fatal(err)
		}
		for _, named := range []string{"rate:" + AnonymousPull, "rate:" + WorkloadPull, "rate:ecr-public:", "rate:ecr:PutImage", "rate:ecr-public:ecr-public:PutImage"} {
			if err := s.Set(t.Context(), account, "", named, 3); !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%s can be set: %v", named, err)
			}
		}
		if got := admitted(t, s, Request{Account: account, Region: name.Public, Action: "ecr-public:PutImage"}, 10); got != 3 {
			t.Errorf("%d of 10 at a rate of 3", got)
		}
		if got := admitted(t, s, Request{Account: account, Region: region, Action: "PutImage"}, 10); got != 10 {
			t.Errorf("%d of 10 private ones", got)
		}
		for _, from := range []name.AccountID{"192.0.2.1", "192.0.2.2"} {
			if got := admitted(t, s, Request{Account: from, Region: name.Public, Action: AnonymousPull}, 10); got != 1 {
				t.Errorf("%d of 10 pulls from %s", got, from)
			}
		}
		all, err := s.List(t.Context(), account, "")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, v := range all {
			if v.Name == "rate:ecr-public:PutImage" {
				found = v.Value == 3 && v.Title == "Rate of PutImage requests to public registries"
			}
		}
		if !found {
			t.Errorf("the list is %+v", all)
		}
	})
}

// TestManyAddresses: any number of addresses is held to the rate in bounded memory, and
// tells other nodes of a bounded part; accounts are told of all the same.
func TestManyAddresses(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db)
	clk := clock.NewFake(time.Unix(0, 0))
	s := New(Config{DB: db, Clock: clk, Log: quiet, Rates: Rates{AnonymousPull: 1, "PutImage": 10}, Share: true})
	pull := func(i int) error {
		return s.Admit(t.Context(), Request{Account: name.AccountID(fmt.Sprintf("2001:db8:%x:%x::/64", i>>16, i&0xffff)), Region: name.Public, Action: AnonymousPull})
	}
	for i := range 2 * bucketShards * maxShardBuckets {
		if err := pull(i); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := pull(2*bucketShards*maxShardBuckets - 1); !errs.Is(err, errs.Throttled) {
		t.Errorf("a second pull from the last address: %v", err)
	}
	n := 0
	s.buckets.each(func(bucketKey, *bucket) bool { n++; return false })
	if n > bucketShards*maxShardBuckets {
		t.Errorf("%d buckets", n)
	}
	admitted(t, s, Request{Account: account, Region: region, Action: "PutImage"}, 1)
	clk.Advance(time.Second)
	if err := s.exchange(t.Context()); err != nil {
		t.Fatal(err)
	}
	var text string
	err := db.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT demand FROM quota_demand`).Scan(&text)
	})
	if err != nil {
		t.Fatal(err)
	}
	told := readDemand(text)
	if len(told) != maxPublishedAddresses+1 || told[bucketKey{account, region, "PutImage"}] == 0 {
		t.Errorf("%d keys are told of", len(told))
	}
	if err := s.exchange(t.Context()); err != nil {
		t.Fatal(err)
	}
}
