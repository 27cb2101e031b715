package replication

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/test/contract/harness"
)

// wrong is a clock that is off, and signs requests by itself.
type wrong struct{ by atomic.Int64 }

// Now is the wrong time.
func (w *wrong) Now() time.Time { return time.Now().Add(time.Duration(w.by.Load())) }

// SignHTTP signs at the wrong time.
func (w *wrong) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return v4.NewSigner().SignHTTP(ctx, c, r, hash, service, region, w.Now(), o...)
}

// TestClockSkew: the clock of the second deployment, which runs in the test's process
// for that, is hours off, and jumps. Images come all the same.
func TestClockSkew(t *testing.T) {
	clock := &wrong{}
	clock.by.Store(int64(3 * time.Hour))
	cfg := config.Default()
	cfg.Data, cfg.Listen, cfg.Region = t.TempDir(), harness.FreeAddress(t), ireland
	cfg.RootAccessKeyID, cfg.RootSecretAccessKey = apptest.AccessKeyID, apptest.SecretAccessKey
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	two, err := app.New(t.Context(), cfg, app.Options{Clock: clock, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- two.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := two.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	there := url.URL{Scheme: "http", Host: cfg.Listen}
	one := harness.Start(t, harness.Options{Config: "regions:\n  " + east + ": {}\n  " + ireland + ": {peer: \"" + there.String() + "\"}\n"})
	exchange(t, one, side{one.Data, "http://" + one.Addr}, side{cfg.Data, there.String()}, accountA)
	from := at(t, one, accountA, east, rootKey(one))
	to := &place{account: accountA, region: ireland}
	from.create(t, "skew")
	from.replicate(t, rule(nil, to))
	for n, off := range []time.Duration{3 * time.Hour, -2 * time.Hour, 40 * 24 * time.Hour} {
		clock.by.Store(int64(off))
		tag := fmt.Sprintf("v%d", n)
		from.PushImage(t, "skew", tag, uint64(n), 3*mib)
		took := from.arrives(t, "skew", tag, to)
		t.Logf("with a clock that is %s off: %s", off, took.Round(time.Millisecond))
		base := there.String()
		to.api = ecr.New(ecr.Options{
			BaseEndpoint: &base, Region: ireland, HTTPSignerV4: clock, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient},
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}, nil
			}),
		})
		to.Registry = harness.NewRegistry(base, apptest.Authorization(t, to.api), http.DefaultTransport)
		same(t, "skew", tag, from, to)
	}
}
