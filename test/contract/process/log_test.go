package process

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestLogHoldsNoSecrets uses every kind of credential, rightly and wrongly, with
// the most talkative log, and then looks for them there.
func TestLogHoldsNoSecrets(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			s := harness.Start(t, harness.Options{Args: []string{"--log-level", "debug", "--log-format", format}})
			secrets := map[string]string{"the secret access key": s.SecretAccessKey}
			s.CreateRepository(t, "log")
			token, password := s.Token(t), s.Password(t)
			secrets["the token"], secrets["the password"] = token, password
			registry := s.Registry(t)
			image := registry.PushImage(t, "log", "v1", 1, 100_000)
			layer := registry.Verify(t, "log", "v1").Manifest.Layers[0].Digest

			url := downloadURL(t, s, "log", layer)
			secrets["the download address's signature"] = signatureOf(t, url)
			get(t, url, nil)
			get(t, url+"0", nil)

			// A token that was altered, a wrong password, a password in a URL.
			altered := base64.StdEncoding.EncodeToString([]byte("AWS:" + password[:len(password)-8] + "AAAAAAAA"))
			secrets["an altered token"] = altered
			get(t, "http://"+s.Addr+"/v2/", map[string]string{"Authorization": "Basic " + altered})
			get(t, "http://"+s.Addr+"/v2/", map[string]string{"Authorization": "Bearer " + password})
			get(t, "http://"+s.Addr+"/v2/log/manifests/"+image.Digest, map[string]string{"Authorization": "Basic " + token + "x"})

			// A wrong secret, an unknown key with a session token.
			config := s.Config()
			config.Credentials = credentials(s.AccessKeyID, "wrong/secret+wrong/secret", "")
			secrets["a wrong secret"] = "wrong/secret+wrong/secret"
			if _, err := ecr.NewFromConfig(config).DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{}); err == nil {
				t.Error("a wrong secret was accepted")
			}
			config.Credentials = credentials("ASIAUNKNOWNUNKNOWN00", "another/secret", "session+token/session+token")
			secrets["another secret"], secrets["a session token"] = "another/secret", "session+token/session+token"
			if _, err := ecr.NewFromConfig(config).DescribeRegistry(t.Context(), &ecr.DescribeRegistryInput{}); err == nil {
				t.Error("an unknown key was accepted")
			}
			if err := s.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, key := range keyringSecrets(t, s.Data) {
				secrets[name] = key
			}
			log := s.Log()
			for name, secret := range secrets {
				if len(secret) < 8 {
					t.Fatalf("%s is %q: too short to look for", name, secret)
				}
				if strings.Contains(log, secret) {
					t.Errorf("%s is in the log", name)
				}
			}
			if strings.Contains(log, "Authorization") {
				t.Error("a header with credentials is in the log")
			}
		})
	}
}

func credentials(id, secret, session string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: session}, nil
	})
}

func downloadURL(t *testing.T, s *harness.Server, repo, digest string) string {
	t.Helper()
	out, err := s.ECR().GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: &repo, LayerDigest: &digest})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.DownloadUrl)
}

// signatureOf is the last and longest parameter or segment of a signed address.
func signatureOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range u.Query() {
		if strings.Contains(strings.ToLower(key), "signature") {
			return values[0]
		}
	}
	t.Fatalf("%s is not signed", address)
	return ""
}

func get(t *testing.T, address string, header map[string]string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // only the log counts
}

// keyringSecrets are all long texts in the keyring.
func keyringSecrets(t *testing.T, data string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, "keyring.json"))
	if err != nil {
		t.Fatal(err)
	}
	var content any
	if err := json.Unmarshal(b, &content); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				walk(path+"."+k, inner)
			}
		case []any:
			for _, inner := range v {
				walk(path+"[]", inner)
			}
		case string:
			if len(v) >= 40 && !strings.Contains(v, ":") { // not an id, a name or a time
				found["keyring"+path] = v
			}
		}
	}
	walk("", content)
	if len(found) == 0 {
		t.Fatalf("no key was found in the keyring")
	}
	return found
}
