package identity

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// later is a server in process whose clock, and that of its clients, the test
// puts forward.
type later struct {
	*apptest.Server
	by   atomic.Int64
	repo string
	image
}

// Now is the shifted time.
func (l *later) Now() time.Time { return time.Now().Add(time.Duration(l.by.Load())) }

func (l *later) wait(d time.Duration) { l.by.Add(int64(d)) }

// SignHTTP signs at the shifted time.
func (l *later) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return v4.NewSigner().SignHTTP(ctx, c, r, hash, service, region, l.Now(), o...)
}

func newLater(t *testing.T) *later {
	t.Helper()
	l := &later{repo: unique("repo"), image: newImage(t)}
	l.Server = apptest.Start(t, apptest.Options{Clock: l})
	l.CreateRepository(t, l.repo)
	if err := push(t.Context(), l.registry(l.Authorization(t)), l.repo, l.image); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *later) registry(authorization string) *harness.Registry {
	return harness.NewRegistry(l.URL, authorization, http.DefaultTransport)
}

func (l *later) config(c aws.Credentials) aws.Config {
	return aws.Config{
		Region: home, BaseEndpoint: &l.URL, HTTPClient: awstest.Client{Client: http.DefaultClient}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil }),
	}
}

func (l *later) ecr(c aws.Credentials) *ecr.Client {
	return ecr.NewFromConfig(l.config(c), func(o *ecr.Options) { o.HTTPSignerV4 = l })
}

// session is a role's session for a quarter of an hour.
func (l *later) session(t *testing.T) aws.Credentials {
	t.Helper()
	root := aws.Credentials{AccessKeyID: apptest.AccessKeyID, SecretAccessKey: apptest.SecretAccessKey}
	api := iam.NewFromConfig(l.config(root))
	user, role := unique("user"), unique("role")
	made := must(api.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &user}))(t)
	key := must(api.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user}))(t).AccessKey
	arn := must(api.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(document(trust(*made.User.Arn)))}))(t).Role.Arn
	must(api.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("own"), PolicyDocument: aws.String(document(allow("ecr:*", "*")))}))(t)
	given := must(sts.NewFromConfig(l.config(aws.Credentials{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})).AssumeRole(t.Context(),
		&sts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("session"), DurationSeconds: aws.Int32(900)}))(t)
	return credentialsOf(given.Credentials)
}

func expiryAttempts() group {
	const expired = "403 DENIED: Your authorization token has expired. Reauthenticate and try again."
	return group{"After the end", []attempt{
		{"a session that has ended, at the API", "ExpiredTokenException: The security token included in the request is expired", func(t *testing.T, _ *world) error {
			l := newLater(t)
			api := l.ecr(l.session(t))
			describe := func() error {
				_, err := api.DescribeRegistry(t.Context(), nil)
				return err
			}
			l.wait(14 * time.Minute)
			rightful(t, "a minute before", describe())
			l.wait(time.Minute)
			return describe()
		}},
		{"a registry token that a session fetched, after the session has ended", expired, func(t *testing.T, _ *world) error {
			l := newLater(t)
			session := l.session(t)
			l.wait(10 * time.Minute)
			out := must(l.ecr(session).GetAuthorizationToken(t.Context(), nil))(t).AuthorizationData[0]
			if !out.ExpiresAt.Equal(session.Expires) {
				t.Errorf("the token says that it ends at %s, the session does at %s", out.ExpiresAt, session.Expires)
			}
			r := l.registry("Basic " + *out.AuthorizationToken)
			l.wait(4 * time.Minute)
			rightful(t, "a minute before", pull(t.Context(), r, l.repo))
			l.wait(time.Minute)
			return pull(t.Context(), r, l.repo)
		}},
		{"a registry token after twelve hours", expired, func(t *testing.T, _ *world) error {
			l := newLater(t)
			r := l.registry(l.Authorization(t))
			l.wait(12*time.Hour - time.Minute)
			rightful(t, "a minute before", pull(t.Context(), r, l.repo))
			l.wait(time.Minute)
			return pull(t.Context(), r, l.repo)
		}},
		{"a download address after an hour", "403: this address has expired; ask for a new one with GetDownloadUrlForLayer", func(t *testing.T, _ *world) error {
			l := newLater(t)
			digest := l.layerDigest()
			address := *must(l.ECR.GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: &l.repo, LayerDigest: &digest}))(t).DownloadUrl
			get := func() error {
				_, err := l.registry("").Do(t.Context(), harness.Request{Method: http.MethodGet, Path: address}, http.StatusOK)
				return err
			}
			l.wait(time.Hour - time.Minute)
			rightful(t, "a minute before", get())
			l.wait(time.Minute)
			return get()
		}},
	}}
}
