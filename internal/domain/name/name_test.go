package name_test

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
)

func TestParseRepository(t *testing.T) {
	for text, ok := range map[string]bool{
		"ab": true, "a/b": true, "demo": true, "team/app/api": true, "a__b": true, "a--b": true, "a-.b": false,
		"1st": true, "a.b_c": true, strings.Repeat("a", 256): true,
		"": false, "a": false, "A": false, "Demo": false, "a//b": false, "/ab": false, "ab/": false, "-ab": false, "ab-": false,
		"a___b": false, "a..b": false, "ab\n": false, strings.Repeat("a", 257): false,
	} {
		if _, err := name.ParseRepository(text); (err == nil) != ok {
			t.Errorf("ParseRepository(%q) = %v, want ok %v", text, err, ok)
		}
	}
}

func TestParseTagAndDigest(t *testing.T) {
	for text, ok := range map[string]bool{"latest": true, "v1.2-3_4": true, "-x": true, "": false, "a b": false, "a/b": false, "ü": false, strings.Repeat("t", 301): false} {
		if _, err := name.ParseTag(text); (err == nil) != ok {
			t.Errorf("ParseTag(%q) = %v, want ok %v", text, err, ok)
		}
	}
	hex := strings.Repeat("0123456789abcdef", 4)
	for text, ok := range map[string]bool{
		"sha256:" + hex: true, "sha512:" + hex + hex: true, "other+x:ABCDEF": true,
		"sha256:" + hex[1:]: false, "sha256:" + strings.ToUpper(hex): false, "sha512:" + hex: false, hex: false, "sha256:": false, "": false,
	} {
		if _, err := name.ParseDigest(text); (err == nil) != ok {
			t.Errorf("ParseDigest(%q) = %v, want ok %v", text, err, ok)
		}
	}
	if got := name.SHA256(nil); got != "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("SHA256 of nothing = %s", got)
	}
}

func TestARNs(t *testing.T) {
	reg := name.Registry{Account: "123456789012", Region: "cn-north-1"}
	text := reg.RepositoryARN("a/b").String()
	if text != "arn:aws-cn:ecr:cn-north-1:123456789012:repository/a/b" {
		t.Fatal(text)
	}
	arn, err := name.ParseARN(text)
	if err != nil {
		t.Fatal(err)
	}
	if r, repo, ok := arn.RepositoryOf(); !ok || r != reg || repo != "a/b" {
		t.Errorf("RepositoryOf = %v %v %v", r, repo, ok)
	}
	for _, bad := range []string{"", "arn", "arn:aws:ecr:r:a", "x:aws:ecr:us-east-1:123456789012:repository/ab", "arn:aws:ecr:us-east-1:123456789012:"} {
		if _, err := name.ParseARN(bad); err == nil {
			t.Errorf("ParseARN(%q) succeeded", bad)
		}
	}
	for _, other := range []string{"arn:aws:s3:us-east-1:123456789012:repository/ab", "arn:aws:ecr:us-east-1:1:repository/ab", "arn:aws:ecr:us-east-1:123456789012:repository/A"} {
		arn, err := name.ParseARN(other)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok := arn.RepositoryOf(); ok {
			t.Errorf("RepositoryOf(%q) found one", other)
		}
	}
}

func TestHosts(t *testing.T) {
	local := name.Hosts{Domain: "localhost", PublicDomain: "public.localhost"}
	cloud := name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}
	for _, c := range []struct {
		hosts name.Hosts
		host  string
		want  name.Host
	}{
		{local, "localhost:5000", name.Host{}},
		{local, "127.0.0.1", name.Host{}},
		{local, "[::1]:5000", name.Host{}},
		{local, "123456789012.dkr.ecr.eu-west-1.localhost:5000", name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: "eu-west-1"}},
		{local, "123456789012.DKR.ecr.eu-west-1.localhost.", name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: "eu-west-1"}},
		{local, "12345.dkr.ecr.eu-west-1.localhost", name.Host{}},
		{local, "api.ecr.eu-west-1.localhost", name.Host{Kind: name.HostECR, Region: "eu-west-1"}},
		{local, "ecr.eu-west-1.localhost", name.Host{Kind: name.HostECR, Region: "eu-west-1"}},
		{local, "sts.localhost", name.Host{Kind: name.HostSTS}},
		{local, "sts.eu-west-1.localhost", name.Host{Kind: name.HostSTS, Region: "eu-west-1"}},
		{local, "public.public.localhost", name.Host{Kind: name.HostPublicRegistry}},
		{cloud, "123456789012.dkr.ecr.us-east-1.amazonaws.com", name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: "us-east-1"}},
		{cloud, "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: "us-east-1"}},
		{cloud, "123456789012.dkr-ecr.us-east-1.on.aws", name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: "us-east-1"}},
		{cloud, "ecr.us-east-1.api.aws", name.Host{Kind: name.HostECR, Region: "us-east-1"}},
		{cloud, "ecr-fips.us-east-1.amazonaws.com", name.Host{Kind: name.HostECR, Region: "us-east-1"}},
		{cloud, "api.ecr-fips.us-east-1.amazonaws.com", name.Host{Kind: name.HostECR, Region: "us-east-1"}},
		{cloud, "api.ecr-public.us-east-1.amazonaws.com", name.Host{Kind: name.HostECRPublic, Region: "us-east-1"}},
		{cloud, "iam.amazonaws.com", name.Host{Kind: name.HostIAM}},
		{cloud, "public.ecr.aws", name.Host{Kind: name.HostPublicRegistry}},
		{cloud, "gallery.ecr.aws", name.Host{Kind: name.HostGallery}},
		{cloud, "evilamazonaws.com", name.Host{}},
		{cloud, "ecr.amazonaws.com", name.Host{}},
	} {
		if got := c.hosts.Parse(c.host); got != c.want {
			t.Errorf("Parse(%q) = %+v, want %+v", c.host, got, c.want)
		}
	}
	if got := local.RegistryHost(name.Registry{Account: "123456789012", Region: "eu-west-1"}); got != "123456789012.dkr.ecr.eu-west-1.localhost" {
		t.Error(got)
	}
}
