package nats_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/berth-registry/berth/internal/infra/eventsink/nats"
	"github.com/berth-registry/berth/internal/infra/eventsink/natstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
)

// pair makes a key pair and its public part.
func pair(t *testing.T, make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	p, err := make()
	if err != nil {
		t.Fatal(err)
	}
	public, err := p.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p, public
}

// token is a JWT as NATS has them.
func token(t *testing.T, issuer nkeys.KeyPair, by, of, kind, more string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"jti":"x","iat":%d,"iss":%q,"sub":%q,"name":"x","nats":{"type":%q,"version":2%s}}`, time.Now().Unix(), by, of, kind, more)
	if !json.Valid([]byte(claims)) {
		t.Fatal(claims)
	}
	text := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode([]byte(claims))
	signature, err := issuer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

func TestCreds(t *testing.T) {
	operator, operatorKey := pair(t, nkeys.CreateOperator)
	account, accountKey := pair(t, nkeys.CreateAccount)
	user, userKey := pair(t, nkeys.CreateUser)
	const limits = `"subs":-1,"data":-1,"payload":-1`
	_, systemKey := pair(t, nkeys.CreateAccount) // JetStream, which servers of tests have, wants one
	accountToken := func(of string) string {
		return token(t, operator, operatorKey, of, "account", `,"limits":{`+limits+`,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}`)
	}
	server := natstest.Start(t, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload { %s: %s, %s: %s }\n",
		token(t, operator, operatorKey, operatorKey, "operator", ""), systemKey, systemKey, accountToken(systemKey), accountKey, accountToken(accountKey)))
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds := "-----BEGIN NATS USER JWT-----\n" + token(t, account, accountKey, userKey, "user", `,"pub":{},"sub":{},`+limits) +
		"\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"
	at := nats.Settings{URL: "nats://" + server.Address, Creds: creds}
	if err := open(t, at).Send(t.Context(), sinktest.Message("a", 1)); err != nil {
		t.Error(err)
	}
	at.Creds = ""
	if err := open(t, at).Send(t.Context(), sinktest.Message("a", 1)); err == nil {
		t.Error("it lets in who has none")
	}
}

func TestTLS(t *testing.T) {
	made := httptest.NewUnstartedServer(nil)
	made.StartTLS()
	made.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate().Raw})
	der, err := x509.MarshalPKCS8PrivateKey(made.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"cert": certificate, "key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := natstest.Start(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", filepath.Join(dir, "cert"), filepath.Join(dir, "key")))
	for _, scheme := range []string{"tls", "nats"} {
		at := nats.Settings{URL: scheme + "://" + server.Address, CA: string(certificate)}
		if err := open(t, at).Send(t.Context(), sinktest.Message("a", 1)); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		at.CA = ""
		if err := open(t, at).Send(t.Context(), sinktest.Message("a", 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s, not trusted: %v", scheme, err)
		}
	}
}
