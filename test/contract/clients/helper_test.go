package clients

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// credentialHelper shows that AWS's own tools work as they are, without any
// endpoint told to them, where Berth answers for AWS's domain: in a private
// network with names of its own, on the real port, over TLS.
func credentialHelper(t *testing.T, _ *fixture) {
	const (
		api      = "api.ecr.us-east-1.amazonaws.com"
		registry = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
		account  = "sts.us-east-1.amazonaws.com"
	)
	inside := harness.NewNamespace(t, true)
	inside.Hosts(t, net.IPv4(127, 0, 0, 1), api, registry, account)
	certificate := harness.NewCertificate(t, api, registry, account)
	s := harness.Start(t, harness.Options{
		Listen: "127.0.0.1:443", Namespace: inside, TLS: certificate, Args: []string{"--domain", "amazonaws.com"},
	})
	b := harness.NewBox(t, "aws", "crane", "docker-credential-ecr-login", "ecr-credential-provider")
	b.Namespace = inside
	b.With("AWS_ACCESS_KEY_ID="+s.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.SecretAccessKey,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_STS_REGIONAL_ENDPOINTS=regional",
		"AWS_CA_BUNDLE="+certificate.Path, "SSL_CERT_FILE="+certificate.Path)

	t.Log("the AWS CLI")
	same(t, "the caller", b.Run("aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text"), s.Account)
	uri := b.Run("aws", "ecr", "create-repository", "--repository-name", "demo", "--query", "repository.repositoryUri", "--output", "text")
	same(t, "repositoryUri", uri, registry+"/demo")
	endpoint := b.Run("aws", "ecr", "get-authorization-token", "--query", "authorizationData[].proxyEndpoint", "--output", "text")
	same(t, "proxyEndpoint", endpoint, "https://"+registry)

	t.Log("the credential helper, asked by crane")
	b.Write(".docker/config.json", fmt.Appendf(nil, `{"credHelpers": {%q: "ecr-login"}}`, registry))
	image := uri + ":v1"
	b.Run("crane", "append", "--oci-empty-base", "-f", b.Write("root.tar", harness.Tar(t, "file", harness.Random(100, 100_000))), "-t", image)
	b.Run("crane", "validate", "--remote", image)
	digest := b.Run("crane", "digest", image)
	same(t, "the image", b.Run("aws", "ecr", "describe-images", "--repository-name", "demo", "--query", "imageDetails[].imageDigest", "--output", "text"), digest)

	t.Log("kubelet's provider")
	answer := decode[struct {
		Auth map[string]struct{ Username, Password string }
	}](t, b.Feed(fmt.Sprintf(`{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":%q}`, image), "ecr-credential-provider", "get-credentials"))
	if len(answer.Auth) != 1 {
		t.Fatalf("ecr-credential-provider answers for %d registries, want 1", len(answer.Auth))
	}
	for host, login := range answer.Auth {
		if login.Username != "AWS" || !strings.HasPrefix(registry, strings.TrimPrefix(host, "*.")) && host != registry {
			t.Logf("the provider answers for %s", host)
		}
		b.Write(".docker/config.json", []byte("{}"))
		b.Feed(login.Password, "crane", "auth", "login", registry, "--username", login.Username, "--password-stdin")
	}
	same(t, "with kubelet's password", b.Run("crane", "digest", image), digest)
	s.MustFsck(t)
}
