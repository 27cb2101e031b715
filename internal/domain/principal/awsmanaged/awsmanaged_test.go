package awsmanaged_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/awsmanaged"
)

// statement is a statement as the files have it.
type statement struct {
	Sid, Effect       string
	Action, NotAction list
	Resource          list
	Condition         map[string]map[string]list
}

// list is a string or a list of strings.
type list []string

func (l *list) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*l = list{""}
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

func statements(t *testing.T, text string) []statement {
	t.Helper()
	var d struct {
		Version   string
		Statement []statement
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.Version != "2012-10-17" {
		t.Fatalf("%q: %v", d.Version, err)
	}
	return d.Statement
}

func prefixed(service, names string) (all list) {
	for n := range strings.FieldsSeq(names) {
		all = append(all, service+":"+n)
	}
	return all
}

func load(t *testing.T) *awsmanaged.Catalog {
	t.Helper()
	c, err := awsmanaged.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What the ECR user guide says of the documents, "AWS managed policies".
func TestDocumentsOfECR(t *testing.T) {
	const (
		read   = "GetAuthorizationToken BatchCheckLayerAvailability GetDownloadUrlForLayer GetRepositoryPolicy DescribeRepositories ListImages DescribeImages BatchGetImage GetLifecyclePolicy GetLifecyclePolicyPreview ListTagsForResource DescribeImageScanFindings"
		write  = " InitiateLayerUpload UploadLayerPart CompleteLayerUpload PutImage"
		public = "BatchCheckLayerAvailability GetRepositoryPolicy DescribeRepositories DescribeRegistries DescribeImages DescribeImageTags GetRepositoryCatalogData GetRegistryCatalogData"
	)
	everything := list{"*"}
	allow := func(actions ...string) statement {
		return statement{Effect: "Allow", Action: actions, Resource: everything}
	}
	publicly := func(names string) statement {
		return allow(append(list{"ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"}, prefixed("ecr-public", names)...)...)
	}
	ownAccount := map[string]map[string]list{"StringEquals": {"aws:ResourceAccount": {"${aws:PrincipalAccount}"}}}
	cache := []statement{
		{Sid: "ECR", Effect: "Allow", Resource: everything, Action: prefixed("ecr",
			"GetAuthorizationToken BatchCheckLayerAvailability InitiateLayerUpload UploadLayerPart CompleteLayerUpload PutImage BatchGetImage BatchImportUpstreamImage GetDownloadUrlForLayer GetImageCopyStatus")},
		{Sid: "SecretsManager", Effect: "Allow", Action: list{"secretsmanager:GetSecretValue"}, Resource: list{"arn:aws:secretsmanager:*:*:secret:ecr-pullthroughcache/*"}, Condition: ownAccount},
	}
	newer := slices.Clone(cache)
	newer[0].Condition = ownAccount
	serviceLinked := statement{Effect: "Allow", Action: list{"iam:CreateServiceLinkedRole"}, Resource: everything,
		Condition: map[string]map[string]list{"StringEquals": {"iam:AWSServiceName": {"replication.ecr.amazonaws.com"}}}}
	template := allow("ecr:CreateRepository")
	template.Sid = "CreateRepositoryWithTemplate"

	c := load(t)
	for _, want := range []struct {
		arn        string
		version    int64
		statements []statement
	}{
		{"AmazonEC2ContainerRegistryFullAccess", 3, []statement{allow("ecr:*", "cloudtrail:LookupEvents"), serviceLinked}},
		{"AmazonEC2ContainerRegistryFullAccess", 2, []statement{allow("ecr:*", "cloudtrail:LookupEvents")}},
		{"AmazonEC2ContainerRegistryPowerUser", 3, []statement{allow(prefixed("ecr", read+write)...)}},
		{"AmazonEC2ContainerRegistryReadOnly", 3, []statement{allow(prefixed("ecr", read)...)}},
		{"AmazonEC2ContainerRegistryPullOnly", 1, []statement{allow(prefixed("ecr", "GetAuthorizationToken BatchGetImage GetDownloadUrlForLayer BatchImportUpstreamImage")...)}},
		{"AmazonElasticContainerRegistryPublicFullAccess", 1, []statement{allow("ecr-public:*", "sts:GetServiceBearerToken")}},
		{"AmazonElasticContainerRegistryPublicPowerUser", 1, []statement{publicly(public + write)}},
		{"AmazonElasticContainerRegistryPublicReadOnly", 1, []statement{publicly(public)}},
		{"aws-service-role/AWSECRPullThroughCache_ServiceRolePolicy", 3, cache},
		{"aws-service-role/AWSECRPullThroughCache_ServiceRolePolicy", 4, newer},
		{"aws-service-role/ECRReplicationServiceRolePolicy", 1, []statement{allow("ecr:CreateRepository", "ecr:ReplicateImage")}},
		{"aws-service-role/ECRTemplateServiceRolePolicy", 1, []statement{template}},
	} {
		p, ok := c.Get("arn:aws:iam::aws:policy/" + want.arn)
		i := slices.IndexFunc(p.Versions, func(v awsmanaged.Version) bool { return v.Number == want.version })
		if !ok || i < 0 {
			t.Errorf("%s v%d: %v", want.arn, want.version, ok)
			continue
		}
		if got := statements(t, p.Versions[i].Text); !reflect.DeepEqual(got, want.statements) {
			t.Errorf("%s v%d:\n%+v\n%+v", want.arn, want.version, got, want.statements)
		}
	}
}

// What the other policies allow, as far as it is decided by them.
func TestDecisions(t *testing.T) {
	c := load(t)
	for _, q := range []struct {
		arn, action string
		want        bool
	}{
		{"AdministratorAccess", "iam:CreateUser", true},
		{"PowerUserAccess", "ecr:DeleteRepository", true},
		{"PowerUserAccess", "iam:CreateUser", false},
		{"PowerUserAccess", "iam:ListRoles", true},
		{"PowerUserAccess", "organizations:DescribeOrganization", true},
		{"IAMFullAccess", "iam:CreateUser", true},
		{"IAMFullAccess", "ecr:GetAuthorizationToken", false},
		{"IAMReadOnlyAccess", "iam:GetUser", true},
		{"IAMReadOnlyAccess", "iam:SimulateCustomPolicy", true},
		{"IAMReadOnlyAccess", "iam:CreateUser", false},
		{"service-role/AmazonEC2ContainerServiceforEC2Role", "ecr:BatchGetImage", true},
		{"service-role/AmazonEC2ContainerServiceforEC2Role", "ecr:PutImage", false},
		{"AmazonEKSWorkerNodePolicy", "eks:DescribeCluster", true},
		{"AmazonEKSWorkerNodePolicy", "ecr:BatchGetImage", false},
		{"aws-service-role/AmazonInspector2ServiceRolePolicy", "ecr:BatchGetImage", true},
		{"aws-service-role/AmazonInspector2ServiceRolePolicy", "ecr:PutImage", false},
	} {
		p, ok := c.Get("arn:aws:iam::aws:policy/" + q.arn)
		d := policy.Decide(&policy.Sources{Identity: []policy.Named{{Name: q.arn, Document: p.Document}}},
			&policy.Request{Action: q.action, Resource: "*", Caller: policy.Caller{Type: policy.User, Account: "111111111111"}})
		if !ok || d.Allowed != q.want {
			t.Errorf("%s, %s: %v", q.arn, q.action, d)
		}
	}
}

func TestCatalog(t *testing.T) {
	c := load(t)
	all := c.All()
	if len(all) != 17 || !slices.IsSortedFunc(all, func(a, b awsmanaged.Policy) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d policies", len(all))
	}
	id := regexp.MustCompile(`^ANPA[A-Z2-7]{17}$`)
	ids, files := map[string]bool{}, 0
	for _, p := range all {
		if ids[p.ID] || !id.MatchString(p.ID) || p.Description == "" || p.Updated.Before(p.Created) ||
			p.ARN != "arn:aws:iam::aws:policy"+p.Path+p.Name || p.ServiceRole != (p.Path == "/aws-service-role/") {
			t.Errorf("%+v", p)
		}
		ids[p.ID] = true
		newest := p.Versions[0]
		if newest.Number != p.Version || newest.Text != p.Text || !newest.Created.Equal(p.Updated) ||
			!slices.IsSortedFunc(p.Versions, func(a, b awsmanaged.Version) int { return int(b.Number - a.Number) }) {
			t.Errorf("%s: %+v", p.Name, newest)
		}
		files += len(p.Versions)
	}
	if stored, err := os.ReadDir("documents"); err != nil || len(stored) != files {
		t.Errorf("%d files for %d versions, %v", len(stored), files, err)
	}
	if p, _ := c.Get("arn:aws:iam::aws:policy/AdministratorAccess"); p.ID != "ANPAIWMBCKSKIEE64ZLYK" {
		t.Errorf("%+v", p)
	}
	for _, arn := range []string{"", "AdministratorAccess", "arn:aws:iam::aws:policy/AWSLambda_FullAccess", "arn:aws:iam::111111111111:policy/AdministratorAccess"} {
		if _, ok := c.Get(arn); ok {
			t.Errorf("there is %q", arn)
		}
	}
}
