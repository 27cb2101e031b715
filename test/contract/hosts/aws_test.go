package hosts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/test/contract/harness"
)

// cloud is a server that answers for AWS's domains, in a network of its own: the
// names are entries of a hosts file there, as they would be a private DNS zone's,
// and the certificate holds the names that docs/network.md lists.
type cloud struct {
	*harness.Server
	inside *harness.Namespace
	box    *harness.Box
	http   *http.Client
}

// another is an API of AWS that Berth does not have.
const another = "events.us-east-1.amazonaws.com"

func startCloud(t *testing.T) *cloud {
	t.Helper()
	names := append(name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}.
		CertificateNames([]name.Region{"us-east-1", "eu-central-1", "us-gov-west-1"}), another)
	certificate := harness.NewCertificate(t, names...)
	c := &cloud{inside: harness.NewNamespace(t, true)}
	entries := make([]string, len(names))
	for i, n := range names {
		entries[i] = strings.Replace(n, "*", "000000000000", 1)
	}
	c.inside.Hosts(t, net.IPv4(127, 0, 0, 1), entries...)
	c.Server = harness.Start(t, harness.Options{
		Listen: "127.0.0.1:443", Namespace: c.inside, TLS: certificate,
		Args: []string{"--domain", "amazonaws.com", "--public-domain", "ecr.aws", "--regions", "us-east-1,eu-central-1,us-gov-west-1"},
	})
	c.box = harness.NewBox(t, "aws", "crane", "skopeo", "docker-credential-ecr-login", "ecr-credential-provider").With(
		"AWS_ACCESS_KEY_ID="+c.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+c.SecretAccessKey,
		"AWS_CA_BUNDLE="+certificate.Path, "SSL_CERT_FILE="+certificate.Path)
	c.box.Namespace = c.inside
	c.in("us-east-1")
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.inside.Dial, TLSClientConfig: &tls.Config{RootCAs: certificate.Pool}, ForceAttemptHTTP2: true}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// in sends the tools to a region.
func (c *cloud) in(region string) { c.box.With("AWS_REGION="+region, "AWS_DEFAULT_REGION="+region) }

// variants are the kinds of endpoints that the tools can be told to use.
func variants() map[string][]string {
	set := func(fips, dual string) []string {
		return []string{"AWS_USE_FIPS_ENDPOINT=" + fips, "AWS_USE_DUALSTACK_ENDPOINT=" + dual}
	}
	return map[string][]string{"plain": set("false", "false"), "FIPS": set("true", "false"), "dual stack": set("false", "true"), "both": set("true", "true")}
}

// TestAWSTools runs AWS's tools as they are, with no endpoint told to them.
func TestAWSTools(t *testing.T) {
	c := startCloud(t)
	t.Run("AWS CLI", c.cli)
	t.Run("registry clients", c.registryClients)
	t.Run("kubelet", c.kubelet)
	t.Run("Go SDK", c.sdk)
	t.Run("hosts", c.hosts)
	c.MustFsck(t)
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (c *cloud) cli(t *testing.T) {
	b := c.box
	b.Run("aws", "iam", "create-user", "--user-name", "someone")
	for _, region := range []string{"us-east-1", "eu-central-1", "us-gov-west-1"} {
		c.in(region)
		registry := "000000000000.dkr.ecr." + region + ".amazonaws.com"
		b.Run("aws", "ecr", "create-repository", "--repository-name", "cli/app")
		for kind, env := range variants() {
			if kind != "both" && (kind != "plain" || region != "us-east-1") {
				continue // the CLI takes its time; the SDK goes through all
			}
			b.With(env...)
			what := kind + " in " + region
			same(t, "sts "+what, b.Run("aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text"), c.Account)
			same(t, "iam "+what, b.Run("aws", "iam", "list-users", "--query", "Users[].UserName", "--output", "text"), "someone")
			same(t, "ecr "+what, b.Run("aws", "ecr", "describe-repositories", "--query", "repositories[].repositoryUri", "--output", "text"), registry+"/cli/app")
		}
		b.With(variants()["plain"]...)
	}
	c.in("us-east-1")
	if password := b.Run("aws", "ecr", "get-login-password"); len(password) < 100 {
		t.Errorf("the password has %d characters", len(password))
	}
	same(t, "events", b.Run("aws", "events", "list-event-buses", "--query", "EventBuses[].Name", "--output", "text"), "default")
	same(t, "cloudtrail", b.Run("aws", "cloudtrail", "describe-trails", "--query", "length(trailList)"), "0")
	same(t, "cloudwatch", b.Run("aws", "cloudwatch", "list-metrics", "--namespace", "AWS/EC2", "--query", "length(Metrics)"), "0")
	same(t, "service-quotas", b.Run("aws", "service-quotas", "list-services", "--query", "Services[].ServiceCode", "--output", "text"), "ecr\tecr-public")
	b.Refused("UnknownOperationException", "aws", "events", "list-archives")
}

func (c *cloud) registryClients(t *testing.T) {
	b := c.box
	c.CreateRepository(t, "tools/app")
	layer := b.Write("root.tar", harness.Tar(t, "file", harness.Random(7, 200_000)))
	registries := []string{
		"000000000000.dkr.ecr.us-east-1.amazonaws.com", "000000000000.dkr.ecr-fips.us-east-1.amazonaws.com",
		"000000000000.dkr-ecr.us-east-1.on.aws", "000000000000.dkr-ecr-fips.us-east-1.on.aws",
	}
	helpers := make([]string, len(registries))
	for i, registry := range registries {
		helpers[i] = fmt.Sprintf("%q: %q", registry, "ecr-login")
	}
	config := []byte(`{"credHelpers": {` + strings.Join(helpers, ", ") + `}}`)
	b.Write(".docker/config.json", config)
	b.Write("auth.json", config)
	b.Run("crane", "append", "--oci-empty-base", "-f", layer, "-t", registries[0]+"/tools/app:v1")
	digest := b.Run("crane", "digest", registries[0]+"/tools/app:v1")
	for i, registry := range registries {
		image := registry + "/tools/app:v1"
		b.Run("crane", "validate", "--remote", image)
		same(t, "skopeo inspect "+registry, b.Run("skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", "docker://"+image), digest)
		b.Run("skopeo", "copy", "docker://"+image, fmt.Sprintf("oci:%s/layout-%d", b.Home, i))
	}
	same(t, "describe-images", b.Run("aws", "ecr", "describe-images", "--repository-name", "tools/app", "--query", "imageDetails[].imageDigest", "--output", "text"), digest)
}

// kubelet asks the provider as kubelet does, on its standard input.
func (c *cloud) kubelet(t *testing.T) {
	b := c.box
	digest := b.Run("crane", "digest", "000000000000.dkr.ecr.us-east-1.amazonaws.com/tools/app:v1")
	for _, host := range []string{"000000000000.dkr.ecr.us-east-1.amazonaws.com", "000000000000.dkr.ecr-fips.us-east-1.amazonaws.com"} {
		image := host + "/tools/app:v1"
		answer := decode[struct {
			Kind string
			Auth map[string]struct{ Username, Password string }
		}](t, b.Feed(fmt.Sprintf(`{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":%q}`, image), "ecr-credential-provider", "get-credentials"))
		login, ok := answer.Auth[host]
		if answer.Kind != "CredentialProviderResponse" || !ok || login.Username != "AWS" {
			t.Fatalf("for %s the provider answers for %d registries, as %q", host, len(answer.Auth), login.Username)
		}
		b.Write(".docker/config.json", []byte("{}"))
		b.Feed(login.Password, "crane", "auth", "login", host, "--username", login.Username, "--password-stdin")
		same(t, "with kubelet's password", b.Run("crane", "digest", image), digest)
	}
}

func (c *cloud) sdk(t *testing.T) {
	config := c.Config()
	config.BaseEndpoint, config.HTTPClient = nil, awstest.Client{Client: c.http}
	for _, region := range []string{"us-east-1", "eu-central-1", "us-gov-west-1"} {
		config.Region = region
		for _, fips := range []aws.FIPSEndpointState{aws.FIPSEndpointStateDisabled, aws.FIPSEndpointStateEnabled} {
			for _, dual := range []aws.DualStackEndpointState{aws.DualStackEndpointStateDisabled, aws.DualStackEndpointStateEnabled} {
				what := fmt.Sprintf("%s, FIPS %d, dual stack %d", region, fips, dual)
				out, err := ecr.NewFromConfig(config, func(o *ecr.Options) {
					o.EndpointOptions.UseFIPSEndpoint, o.EndpointOptions.UseDualStackEndpoint = fips, dual
				}).DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{})
				if err != nil || aws.ToString(out.RegistryId) != c.Account {
					t.Errorf("ECR, %s: %v", what, err)
				}
				caller, err := sts.NewFromConfig(config, func(o *sts.Options) {
					o.EndpointOptions.UseFIPSEndpoint, o.EndpointOptions.UseDualStackEndpoint = fips, dual
				}).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
				if err != nil || aws.ToString(caller.Account) != c.Account {
					t.Errorf("STS, %s: %v", what, err)
				}
				_, err = iam.NewFromConfig(config, func(o *iam.Options) {
					o.EndpointOptions.UseFIPSEndpoint, o.EndpointOptions.UseDualStackEndpoint = fips, dual
				}).ListUsers(t.Context(), &iam.ListUsersInput{})
				if err != nil {
					t.Errorf("IAM, %s: %v", what, err)
				}
			}
		}
	}
	// The global host of STS, signed for us-east-1.
	config.Region = "aws-global"
	if _, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Errorf("the global STS: %v", err)
	}
}

// hosts asks hosts for what they do not have.
func (c *cloud) hosts(t *testing.T) {
	call := func(host, target, contentType, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+host+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		if target != "" {
			r.Header.Set("X-Amz-Target", target)
		}
		answer, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }() // it was read
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	const target, jsonType, formType = "AmazonEC2ContainerRegistry_V20150921.DescribeRegistry", "application/x-amz-json-1.1", "application/x-www-form-urlencoded"
	for _, host := range []string{"sts.us-east-1.amazonaws.com", "iam.amazonaws.com", "api.ecr-public.us-east-1.amazonaws.com", "public.ecr.aws", registryOfAWS} {
		if status, text := call(host, target, jsonType, "{}"); status != http.StatusBadRequest || !strings.Contains(text, `"UnknownOperationException"`) {
			t.Errorf("%s answers a call of ECR with %d %s", host, status, text)
		}
	}
	for _, host := range []string{"api.ecr.us-east-1.amazonaws.com", "iam.amazonaws.com", registryOfAWS} {
		status, text := call(host, "", formType, "Action=GetCallerIdentity&Version=2011-06-15")
		if status != http.StatusBadRequest || !strings.Contains(text, "InvalidAction") {
			t.Errorf("%s answers a call of STS with %d %s", host, status, text)
		}
	}
	if status, text := call("ecr.us-east-1.amazonaws.com", target, jsonType, "{}"); !strings.Contains(text, "MissingAuthenticationTokenException") {
		t.Errorf("ECR's own host answers %d %s", status, text)
	}
	// The APIs' hosts have no registry, and a registry's has one in any spelling.
	for host, want := range map[string]int{"api.ecr.us-east-1.amazonaws.com": http.StatusNotFound, "sts.amazonaws.com": http.StatusNotFound, registryOfAWS: http.StatusUnauthorized, "000000000000.dkr-ecr-fips.eu-central-1.on.aws": http.StatusUnauthorized} {
		status, err := c.get(t.Context(), "https://"+host+"/v2/")
		if err != nil || status != want {
			t.Errorf("%s answers GET /v2/ with %d, want %d: %v", host, status, want, err)
		}
	}
}

const registryOfAWS = "000000000000.dkr.ecr.us-east-1.amazonaws.com"

// get asks over HTTP/2, which the client and the server agree on by themselves.
func (c *cloud) get(ctx context.Context, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	_ = answer.Body.Close() // the status is all
	if answer.ProtoMajor != 2 {
		return 0, errors.New("answered over " + answer.Proto)
	}
	return answer.StatusCode, nil
}
