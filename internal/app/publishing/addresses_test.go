package publishing

import (
	"net/http/httptest"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ listener, reached, registry, gallery string }{
		{"127.0.0.1:5001", "localhost:5000", "localhost:5001", "http://localhost:5000/gallery"},
		{"127.0.0.1:5001", "127.0.0.1:5000", "127.0.0.1:5001", "http://127.0.0.1:5000/gallery"},
		{"[::]:5001", "[::1]:5000", "[::1]:5001", "http://[::1]:5000/gallery"},
		{"127.0.0.1:5001", "registry", "registry:5001", "http://registry/gallery"},
		{"", "localhost:5000", "public.ecr.aws:5000", "http://localhost:5000/gallery"},
		{"127.0.0.1:5001", "public.ecr.aws", "public.ecr.aws", "http://gallery.ecr.aws"},
		{"127.0.0.1:5001", "ecr-public.aws.com:8443", "ecr-public.aws.com:8443", "http://gallery.ecr.aws:8443"},
		{"127.0.0.1:5001", "gallery.ecr.aws", "public.ecr.aws", "http://gallery.ecr.aws"},
		{"127.0.0.1:5001", "api.ecr-public.us-east-1.amazonaws.com", "public.ecr.aws", "http://gallery.ecr.aws"},
		{"127.0.0.1:5001", "111122223333.dkr.ecr.us-east-1.amazonaws.com:8443", "public.ecr.aws:8443", "http://gallery.ecr.aws:8443"},
	} {
		a := addresses{hosts: name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}, listener: func() string { return c.listener }}
		if got := a.registry(c.reached); got != c.registry {
			t.Errorf("the public registry for %s is %s, want %s", c.reached, got, c.registry)
		}
		if got := a.gallery("http", c.reached); got != c.gallery {
			t.Errorf("the gallery for %s is %s, want %s", c.reached, got, c.gallery)
		}
	}
}

func TestPrefix(t *testing.T) {
	a := addresses{hosts: name.Hosts{Domain: "localhost", PublicDomain: "public.localhost"}, listener: func() string { return "" }}
	for host, want := range map[string]string{"localhost:5000": "/gallery", "gallery.public.localhost:5000": "", "192.0.2.7": "/gallery"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		if got := a.prefix(r); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
		if got := a.prefix(byOwnListener(r)); got != "" {
			t.Errorf("%s by the own listener: %q", host, got)
		}
	}
}
