package name_test

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/internal/domain/name"
)

// regionsOf are the domains of AWS, each with regions of its partitions.
func regionsOf() map[string][]string {
	return map[string][]string{
		"amazonaws.com":    {"us-east-1", "us-east-2", "eu-west-1", "eu-central-2", "ap-southeast-7", "mx-central-1", "il-central-1", "us-gov-west-1", "us-gov-east-1"},
		"amazonaws.com.cn": {"cn-north-1", "cn-northwest-1"},
		"amazonaws.eu":     {"eusc-de-east-1"},
	}
}

// resolvers ask AWS's SDK for the endpoint of each API.
func resolvers() map[name.HostKind]func(region string, fips, dual bool) (url.URL, error) {
	ctx := context.Background()
	return map[name.HostKind]func(string, bool, bool) (url.URL, error){
		name.HostECR: func(region string, fips, dual bool) (url.URL, error) {
			e, err := ecr.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, ecr.EndpointParameters{Region: &region, UseFIPS: &fips, UseDualStack: &dual})
			return e.URI, err
		},
		name.HostIAM: func(region string, fips, dual bool) (url.URL, error) {
			e, err := iam.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, iam.EndpointParameters{Region: &region, UseFIPS: &fips, UseDualStack: &dual})
			return e.URI, err
		},
		name.HostSTS: func(region string, fips, dual bool) (url.URL, error) {
			e, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{Region: &region, UseFIPS: &fips, UseDualStack: &dual, UseGlobalEndpoint: aws.Bool(false)})
			return e.URI, err
		},
	}
}

// TestHostsOfTheSDK asks AWS's SDK where it sends calls, for every domain, region
// and kind of endpoint, and holds the table against it.
func TestHostsOfTheSDK(t *testing.T) {
	asked := 0
	for domain, regions := range regionsOf() {
		hosts := name.Hosts{Domain: domain, PublicDomain: "ecr.aws"}
		for kind, resolve := range resolvers() {
			for _, region := range regions {
				for _, fips := range []bool{false, true} {
					for _, dual := range []bool{false, true} {
						at, err := resolve(region, fips, dual)
						if err != nil {
							t.Errorf("the SDK has no endpoint for %d in %s (FIPS %v, dual stack %v): %v", kind, region, fips, dual, err)
							continue
						}
						asked++
						got := hosts.Parse(at.Host)
						// IAM has one host for all regions, or names the region that
						// keeps its data; its calls are signed for that one.
						if got.Kind != kind || kind != name.HostIAM && string(got.Region) != region {
							t.Errorf("Parse(%q) = %+v, want kind %d and region %s", at.Host, got, kind, region)
						}
					}
				}
			}
		}
	}
	if asked != 3*4*12 {
		t.Errorf("%d endpoints were asked for, want %d", asked, 3*4*12)
	}
}

// TestGlobalHosts holds the hosts without a region against the SDK.
func TestGlobalHosts(t *testing.T) {
	hosts := name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}
	e, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), sts.EndpointParameters{Region: aws.String("aws-global"), UseGlobalEndpoint: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if got := hosts.Parse(e.URI.Host); got != (name.Host{Kind: name.HostSTS}) {
		t.Errorf("Parse(%q) = %+v", e.URI.Host, got)
	}
	at, err := iam.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), iam.EndpointParameters{Region: aws.String("eu-west-1")})
	if err != nil {
		t.Fatal(err)
	}
	if got := hosts.Parse(at.URI.Host); got != (name.Host{Kind: name.HostIAM}) {
		t.Errorf("Parse(%q) = %+v", at.URI.Host, got)
	}
}

// credentialHelperHosts is how AWS's credential helper tells a private registry
// (amazon-ecr-credential-helper, api/client.go).
var credentialHelperHosts = regexp.MustCompile(`^(\d{12})\.dkr[.\-]ecr(-fips)?\.([a-zA-Z0-9][a-zA-Z0-9-_]*)\.(amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.(?:com\.cn|eu)))$`)

// TestRegistryHosts takes every name of a registry apart that AWS's tools send
// requests to.
func TestRegistryHosts(t *testing.T) {
	dual := map[string]string{"amazonaws.com": "on.aws", "amazonaws.com.cn": "on.amazonwebservices.com.cn", "amazonaws.eu": "on.amazonwebservices.eu"}
	for domain, regions := range regionsOf() {
		hosts := name.Hosts{Domain: domain}
		for _, region := range regions {
			want := name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: name.Region(region)}
			for _, host := range []string{
				"123456789012.dkr.ecr." + region + "." + domain, "123456789012.dkr.ecr-fips." + region + "." + domain,
				"123456789012.dkr-ecr." + region + "." + dual[domain], "123456789012.dkr-ecr-fips." + region + "." + dual[domain],
			} {
				if !credentialHelperHosts.MatchString(host) {
					t.Errorf("the credential helper does not know %s", host)
				}
				if got := hosts.Parse(host + ":443"); got != want {
					t.Errorf("Parse(%q) = %+v", host, got)
				}
			}
			if got := hosts.RegistryHost(name.Registry{Account: "123456789012", Region: name.Region(region)}); hosts.Parse(got) != want {
				t.Errorf("%s is not the registry's", got)
			}
		}
	}
}

func TestOtherHosts(t *testing.T) {
	cloud := name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}
	own := name.Hosts{Domain: "registry.example", PublicDomain: "public.example"}
	for _, c := range []struct {
		hosts name.Hosts
		host  string
		want  name.Host
	}{
		{cloud, "api.ecr-public.us-east-1.amazonaws.com", name.Host{Kind: name.HostECRPublic, Region: "us-east-1"}},
		{cloud, "ecr-public.us-east-1.api.aws", name.Host{Kind: name.HostECRPublic, Region: "us-east-1"}},
		{cloud, "ecr-public.aws.com", name.Host{Kind: name.HostPublicRegistry}},
		{cloud, "sts-fips.us-east-1.amazonaws.com", name.Host{Kind: name.HostSTS, Region: "us-east-1"}},
		{cloud, "sts.us-gov-west-1.amazonaws.com", name.Host{Kind: name.HostSTS, Region: "us-gov-west-1"}},
		{cloud, "iam.us-gov.amazonaws.com", name.Host{Kind: name.HostIAM}},
		{cloud, "iam-fips.global.api.aws", name.Host{Kind: name.HostIAM}},
		// Names of services that are not here, and the wrong domain of two.
		{cloud, "s3.us-east-1.amazonaws.com", name.Host{}},
		{cloud, "iam.eu.west.amazonaws.com", name.Host{}},
		{cloud, "123456789012.dkr-ecr.us-east-1.amazonaws.com", name.Host{}},
		{cloud, "123456789012.dkr.ecr.us-east-1.on.aws", name.Host{}},
		{cloud, "ecr.us-east-1.on.aws", name.Host{}},
		{cloud, "sts.api.aws", name.Host{}},
		{cloud, "api.aws", name.Host{}},
		{cloud, "", name.Host{}},
		// A domain of one's own has every spelling.
		{own, "123456789012.dkr-ecr-fips.eu-west-1.registry.example", name.Host{Kind: name.HostRegistry, Account: "123456789012", Region: "eu-west-1"}},
		{own, "ecr-fips.eu-west-1.registry.example:8443", name.Host{Kind: name.HostECR, Region: "eu-west-1"}},
		{own, "console.registry.example", name.Host{Kind: name.HostConsole}},
		{own, "gallery.public.example", name.Host{Kind: name.HostGallery}},
		{own, "ecr-public.aws.com", name.Host{}},
		{own, "registry.example", name.Host{}},
	} {
		if got := c.hosts.Parse(c.host); got != c.want {
			t.Errorf("Parse(%q) = %+v, want %+v", c.host, got, c.want)
		}
	}
}

// TestCertificateNames holds the names for a certificate against the parser: each
// is the name of a host, and a wildcard covers every account.
func TestCertificateNames(t *testing.T) {
	regions := []name.Region{"us-east-1", "eu-west-1"}
	for _, hosts := range []name.Hosts{{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}, {Domain: "registry.example", PublicDomain: "public.example"}} {
		names := hosts.CertificateNames(regions)
		for _, n := range names {
			if got := hosts.Parse(strings.Replace(n, "*", "123456789012", 1)); got.Kind == name.HostAny {
				t.Errorf("%s is the name of nothing", n)
			}
		}
		for _, n := range []string{"*.dkr.ecr.us-east-1." + hosts.Domain, "*.dkr.ecr.eu-west-1." + hosts.Domain, "sts." + hosts.Domain, "iam." + hosts.Domain, "public." + hosts.PublicDomain} {
			if !slices.Contains(names, n) {
				t.Errorf("%s is missing", n)
			}
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("not sorted, or twice: %v", names)
		}
	}
}

// TestTheTableIsDocumented looks for every host of AWS's domain in the document.
func TestTheTableIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range (name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}).CertificateNames([]name.Region{"us-east-1"}) {
		row := "`" + strings.NewReplacer("*", "<account>", "us-east-1", "<region>").Replace(n) + "`"
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/network.md does not have %s", row)
		}
	}
}

// TestLastHost: what is remembered of one host is not said of another.
func TestLastHost(t *testing.T) {
	hosts := name.Hosts{Domain: "berth.example", PublicDomain: "ecr.aws"}
	var last name.LastHost
	long := strings.Repeat("a", 1000) + ".berth.example"
	for range 2 {
		for _, host := range []string{"", "localhost:5000", "localhost", "123456789012.dkr.ecr.us-east-1.berth.example", "210987654321.dkr.ecr.us-east-1.berth.example", "public.ecr.aws", long} {
			for range 2 {
				if got, want := last.Parse(hosts, host), hosts.Parse(host); got != want {
					t.Errorf("Parse(%q) = %+v, want %+v", host, got, want)
				}
			}
		}
	}
}
