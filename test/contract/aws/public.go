package aws

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// publicChecks are those of the ECR Public API. What it has in common with ECR's is
// checked by the same functions.
func publicChecks(target Target) []check {
	checks := []check{
		{"Envelopes", (*suite).publicEnvelopes},
		{"Registry", (*suite).publicRegistry},
		{"AuthorizationToken", (*suite).publicToken},
		{"CreateRepository", (*suite).publicCreate},
		{"RepositoryNames", (*suite).publicNames},
		{"DescribeRepositories", (*suite).publicDescribe},
		{"PagesOfRepositories", (*suite).publicRepositoryPages},
		{"DeleteRepository", (*suite).publicDelete},
		{"RepositoriesAtOnce", (*suite).repositoriesAtOnce},
		{"CatalogData", (*suite).catalogData},
		{"Logos", (*suite).logos},
		{"RepositoryPolicy", (*suite).publicPolicy},
		{"ResourceTags", (*suite).resourceTags},
		{"ResourceTagLimits", (*suite).resourceTagLimits},
		{"ErrorsOfTheSDK", (*suite).publicSDKErrors},
		{"WhatEveryOperationRefuses", (*suite).publicRefusals},
		{"BadInput", (*suite).publicBadInput},

		{"LayerPartsOutOfPlace", (*suite).partsOutOfPlace},
		{"LayerPartSizes", (*suite).partSizes},
		{"LayerDigests", (*suite).layerDigests},
		{"UploadIds", (*suite).uploadIDs},
		{"LayersAtOnce", (*suite).layersAtOnce},
		{"LayerAvailability", (*suite).layerAvailability},
		{"Aliases", (*suite).publicAliases},

		{"PutImageAgain", (*suite).putImageAgain},
		{"PutImageKinds", (*suite).putImageKinds},
		{"PutImageDigests", (*suite).putImageDigests},
		{"PutImageReferences", (*suite).putImageReferences},
		{"DeleteImages", (*suite).publicDeleteImages},
		{"DeleteFailures", (*suite).deleteFailures},
		{"DescribeImages", (*suite).publicDescribeImages},
		{"DescribeImageTags", (*suite).describeImageTags},
		{"PagesWhileTagsComeAndGo", (*suite).publicPagesUnderChange},
	}
	if target.OtherRegion != "" {
		checks = append(checks, check{"Regions", (*suite).publicRegions})
	}
	if target.OtherAccount != "" {
		checks = append(checks, check{"AnotherAccount", (*suite).publicAnotherAccount})
	}
	if target.Domain != "" {
		checks = append(checks, check{"CanonicalHosts", (*suite).publicHosts})
	}
	if len(target.PublicBuilt) > 0 {
		checks = append(checks, check{"Built", (*suite).publicBuilt})
	}
	return public(checks)
}

// public makes checks of the ECR Public API out of checks.
func public(checks []check) []check {
	for i, c := range checks {
		checks[i] = check{"Public" + c.name, func(s *suite, t *testing.T) {
			own := *s
			own.public = true
			c.run(&own, t)
		}}
	}
	return checks
}

// imageIDs are the images of a repository as ListImages has them: one entry for each
// tag, and one for each image without.
func (s *suite) imageIDs(t *testing.T, repo string) []any {
	t.Helper()
	ids := []any{}
	for _, d := range s.succeed(t, "DescribeImages", object{"repositoryName": repo})["imageDetails"].([]any) {
		digest := text(t, d.(object), "imageDigest")
		tags, tagged := d.(object)["imageTags"].([]any)
		if !tagged {
			ids = append(ids, byDigest(digest))
		}
		for _, one := range tags {
			ids = append(ids, imageID(digest, one.(string)))
		}
	}
	return ids
}

// publicEnvelopes: answers and failures have ECR's form, and the two APIs do not know
// each other's operations.
func (s *suite) publicEnvelopes(t *testing.T) {
	s.succeed(t, "DescribeRegistries", nil)
	for _, op := range []string{"BatchGetImage", "ListImages", "PutLifecyclePolicy", "GetDownloadUrlForLayer", "PutRegistryPolicy"} {
		s.refused(t, op, nil, "UnknownOperationException", "")
	}
	s.refusal(t, "a public operation of ECR's", s.do(t, call{service: "ecr", op: "GetRepositoryCatalogData", in: object{}, header: map[string]string{"X-Amz-Target": targetPrefix + "GetRepositoryCatalogData"}}),
		"UnknownOperationException", "")
	s.refusal(t, "unsigned", s.do(t, call{op: "DescribeRegistries", unsigned: true}), "MissingAuthenticationTokenException", "Missing Authentication Token")
	a := s.do(t, call{op: "DescribeRegistries", service: "ecr"})
	if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "InvalidSignatureException") || !strings.Contains(string(a.body), "ecr-public") {
		t.Errorf("a signature for the other service: %d %s", a.status, a.body)
	}
}

// alias is the primary alias of the caller's registry, which has one by now.
func (s *suite) alias(t *testing.T) string {
	t.Helper()
	s.repo(t, "alias")
	uri := text(t, s.succeed(t, "DescribeRegistries", nil)["registries"].([]any)[0].(object), "registryUri")
	alias, ok := strings.CutPrefix(uri, s.PublicRegistry+"/")
	if !ok || !regexp.MustCompile(`^[a-z][a-z0-9]+(?:[._-][a-z0-9]+)*$`).MatchString(alias) {
		t.Fatalf("registryUri is %s, want %s/ and an alias", uri, s.PublicRegistry)
	}
	return alias
}

func (s *suite) publicRegistry(t *testing.T) {
	alias := s.alias(t)
	one := object{"name": alias, "status": "ACTIVE", "primaryRegistryAlias": true, "defaultRegistryAlias": true}
	want := object{"registries": array{object{
		"registryId": s.Account, "registryArn": "arn:aws:ecr-public::" + s.Account + ":registry/" + s.Account, "registryUri": s.PublicRegistry + "/" + alias,
		"verified": false, "aliases": array{one},
	}}}
	s.want(t, "DescribeRegistries", nil, want)
	s.want(t, "DescribeRegistries", object{"maxResults": 1}, want)
	if !regexp.MustCompile(`^[a-z][a-z0-9]{7}$`).MatchString(alias) {
		t.Errorf("the default alias is %s", alias)
	}
	for _, displayName := range []string{"The Harbour & Söhne", strings.Repeat("ü", 100), "x"} {
		data := object{"registryCatalogData": object{"displayName": displayName}}
		s.want(t, "PutRegistryCatalogData", object{"displayName": displayName}, data)
		s.want(t, "GetRegistryCatalogData", nil, data)
	}
	for _, in := range []object{{}, {"displayName": ""}} {
		s.succeed(t, "PutRegistryCatalogData", object{"displayName": "x"})
		s.want(t, "PutRegistryCatalogData", in, object{"registryCatalogData": object{}})
		s.want(t, "GetRegistryCatalogData", nil, object{"registryCatalogData": object{}})
	}
}

// publicToken is one object, not a list as ECR's.
func (s *suite) publicToken(t *testing.T) {
	before := time.Now()
	want := object{"authorizationData": object{"authorizationToken": tokenForm, "expiresAt": between(before, life)}}
	first := text(t, s.want(t, "GetAuthorizationToken", nil, want), "authorizationData", "authorizationToken")
	if second := text(t, s.want(t, "GetAuthorizationToken", object{"registryIds": array{s.Account}}, want), "authorizationData", "authorizationToken"); first == second {
		t.Error("the same token twice")
	}
	// It opens nothing private.
	if status := s.open(t, "", "/v2/", first); status != http.StatusUnauthorized && status != http.StatusForbidden {
		t.Errorf("a token of public registries answers %d at the private one", status)
	}
}

// publicAnswer is a public repository as answers have to give it.
func (s *suite) publicAnswer(alias, repo string, before time.Time) object {
	return object{
		"repositoryArn": s.arn(s.Account, repo), "registryId": s.Account, "repositoryName": repo,
		"repositoryUri": s.PublicRegistry + "/" + alias + "/" + repo, "createdAt": during(before),
	}
}

func (s *suite) publicCreate(t *testing.T) {
	alias, before := s.alias(t), time.Now()
	repo := unique("create") + "/in/parts"
	want := s.publicAnswer(alias, repo, before)
	created := s.want(t, "CreateRepository", object{"repositoryName": repo}, object{"repository": want, "catalogData": object{}})
	found := s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{want}})
	same(t, "the two answers", created["repository"], found["repositories"].([]any)[0])
	s.refused(t, "CreateRepository", object{"repositoryName": repo}, "RepositoryAlreadyExistsException",
		"The repository with name '"+repo+"' already exists in the registry with id '"+s.Account+"'")

	tagged := unique("create")
	s.want(t, "CreateRepository", object{"repositoryName": tagged, "tags": array{tag("team", "devs"), object{"Key": "bare"}}},
		object{"repository": s.publicAnswer(alias, tagged, before), "catalogData": object{}})
	s.want(t, "ListTagsForResource", object{"resourceArn": s.arn(s.Account, tagged)}, object{"tags": anyOrder(tag("team", "devs"), tag("bare", ""))})

	// What cannot be applied leaves no repository.
	none := unique("create")
	for exception, in := range map[string]object{
		"InvalidTagParameterException": {"repositoryName": none, "tags": array{tag("aws:k", "v")}},
		"InvalidParameterException":    {"repositoryName": none, "catalogData": object{"logoImageBlob": "AAAA"}},
	} {
		if a := s.do(t, call{op: "CreateRepository", in: in}); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), exception) {
			t.Errorf("%d %s", a.status, a.body)
		}
		s.refused(t, "DescribeRepositories", object{"repositoryNames": array{none}}, "RepositoryNotFoundException", s.noRepository(none))
	}
	// The private registry of the account has none of these.
	private := *s
	private.public = false
	private.refused(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, "RepositoryNotFoundException", s.noRepository(repo))
}

func (s *suite) publicNames(t *testing.T) {
	tail := unique("n")[1:]
	for _, good := range []string{"0" + tail, "with.dot" + tail, "with_one" + tail, "a/b/c/d/e/f/g/h" + tail, strings.Repeat("n", 205-len(tail)) + tail} {
		s.succeed(t, "CreateRepository", object{"repositoryName": good})
		s.succeed(t, "DeleteRepository", object{"repositoryName": good})
	}
}

func (s *suite) publicDescribe(t *testing.T) {
	alias, before := s.alias(t), time.Now()
	one, two, none := s.repo(t, "describe"), s.repo(t, "describe"), unique("none")
	a, b := s.publicAnswer(alias, one, before), s.publicAnswer(alias, two, before)
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{two, one}}, object{"repositories": array{b, a}})
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{one}, "registryId": s.Account}, object{"repositories": array{a}})
	s.refused(t, "DescribeRepositories", object{"repositoryNames": array{one, none}}, "RepositoryNotFoundException", s.noRepository(none))
	const stranger = "111122223333"
	s.refused(t, "DescribeRepositories", object{"registryId": stranger}, "AccessDeniedException", s.denied(s.me, "ecr-public:DescribeRepositories", s.arn(stranger, "*")))
}

func (s *suite) publicRepositoryPages(t *testing.T) {
	prefix := unique("pages")
	for i := range 101 {
		s.succeed(t, "CreateRepository", object{"repositoryName": fmt.Sprintf("%s/%03d", prefix, i)})
	}
	first := s.succeed(t, "DescribeRepositories", nil)
	if n := len(first["repositories"].([]any)); n != 100 {
		t.Errorf("a page has %d repositories where nothing is said, want 100", n)
	}
	next := text(t, first, "nextToken")
	s.invalid(t, "DescribeImages", object{"repositoryName": prefix + "/000", "nextToken": next}, "nextToken", badToken)
	s.invalid(t, "DescribeRegistries", object{"nextToken": next}, "nextToken", badToken)
	private := *s
	private.public = false
	private.invalid(t, "DescribeRepositories", object{"nextToken": next}, "nextToken", badToken)
	whole := s.walk(t, "DescribeRepositories", "repositories", object{}, 1000, func([]string) {})
	for _, size := range []int{7, 33} {
		sameEntries(t, fmt.Sprintf("pages of %d", size), whole, s.walk(t, "DescribeRepositories", "repositories", object{}, size, func([]string) {}))
	}
	for i := range 101 {
		s.succeed(t, "DeleteRepository", object{"repositoryName": fmt.Sprintf("%s/%03d", prefix, i)})
	}
}

func (s *suite) publicDelete(t *testing.T) {
	alias, before := s.alias(t), time.Now()
	repo := s.repo(t, "delete")
	s.succeed(t, "PutRepositoryCatalogData", object{"repositoryName": repo, "catalogData": object{"description": "d"}})
	s.put(t, repo, "", s.kit(t, repo).image(t))
	upload := s.begin(t, repo)
	full := "The repository with name '" + repo + "' in registry with id '" + s.Account + "' cannot be deleted because it still contains images"
	for _, in := range []object{{"repositoryName": repo}, {"repositoryName": repo, "force": false}} {
		s.refused(t, "DeleteRepository", in, "RepositoryNotEmptyException", full)
	}
	s.want(t, "DeleteRepository", object{"repositoryName": repo, "force": true}, object{"repository": s.publicAnswer(alias, repo, before)})
	for op, in := range map[string]object{
		"DeleteRepository": {"repositoryName": repo, "force": true}, "DescribeImages": {"repositoryName": repo}, "ListTagsForResource": {"resourceArn": s.arn(s.Account, repo)},
		"UploadLayerPart": part(repo, upload, 0, []byte("x")), "GetRepositoryCatalogData": {"repositoryName": repo},
	} {
		s.refused(t, op, in, "RepositoryNotFoundException", s.noRepository(repo))
	}
	// One of the same name has nothing of the old one.
	s.succeed(t, "CreateRepository", object{"repositoryName": repo})
	s.want(t, "DescribeImages", object{"repositoryName": repo}, object{"imageDetails": array{}})
	s.want(t, "DescribeImageTags", object{"repositoryName": repo}, object{"imageTagDetails": array{}})
	s.refused(t, "GetRepositoryCatalogData", object{"repositoryName": repo}, "RepositoryCatalogDataNotFoundException", s.noCatalogData(repo))
	s.refused(t, "UploadLayerPart", part(repo, upload, 0, []byte("x")), "UploadNotFoundException", s.noUpload(repo, upload))
	s.succeed(t, "DeleteRepository", object{"repositoryName": repo})
}

func (s *suite) noCatalogData(repo string) string {
	return "The catalog data for repository with name '" + repo + "' in registry with id '" + s.Account + "' does not exist"
}

// picture is a PNG of so many pixels in base64.
func picture(t *testing.T, width, height int) string {
	t.Helper()
	var b bytes.Buffer
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	img.Set(1, 1, color.NRGBA{R: 200, A: 255})
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// catalogData is replaced as a whole.
func (s *suite) catalogData(t *testing.T) {
	repo := unique("catalog")
	full := object{
		"description": "Short", "architectures": array{"ARM", "ARM 64", "x86", "x86-64", "s390x"}, "operatingSystems": array{"Linux", "Plan 9"},
		"aboutText": "# About\n\n* **one**\t`x`", "usageText": strings.Repeat("ü", 25_600),
	}
	in := object{"logoImageBlob": picture(t, 60, 2048)}
	want := object{"logoUrl": matching(`^` + regexp.QuoteMeta(s.Gallery) + `/logo/[0-9a-f-]+\.png$`)}
	for k, v := range full {
		in[k], want[k] = v, v
	}
	s.refused(t, "GetRepositoryCatalogData", object{"repositoryName": repo}, "RepositoryNotFoundException", s.noRepository(repo))
	s.refused(t, "PutRepositoryCatalogData", object{"repositoryName": repo, "catalogData": in}, "RepositoryNotFoundException", s.noRepository(repo))
	made := s.succeed(t, "CreateRepository", object{"repositoryName": repo, "catalogData": in})
	same(t, "CreateRepository", want, made["catalogData"])
	got := s.want(t, "GetRepositoryCatalogData", object{"repositoryName": repo, "registryId": s.Account}, object{"catalogData": want})
	same(t, "the two answers", made["catalogData"], got["catalogData"])

	for _, next := range []object{full, {"description": strings.Repeat("日", 1024)}, {"architectures": array{strings.Repeat("x", 50)}, "operatingSystems": array{}}, {}, {"aboutText": ""}} {
		want := object{}
		for k, v := range next {
			if list, ok := v.(array); v != "" && (!ok || len(list) > 0) {
				want[k] = v
			}
		}
		for range 2 { // the same again is the same
			s.want(t, "PutRepositoryCatalogData", object{"repositoryName": repo, "catalogData": next}, object{"catalogData": want})
		}
		s.want(t, "GetRepositoryCatalogData", object{"repositoryName": repo}, object{"catalogData": want})
	}
}

// logos are pictures of the right size, and nothing else.
func (s *suite) logos(t *testing.T) {
	repo := s.repo(t, "logo")
	put := func(logo string) answer {
		t.Helper()
		return s.do(t, call{op: "PutRepositoryCatalogData", in: object{"repositoryName": repo, "catalogData": object{"logoImageBlob": logo}}})
	}
	url := func(a answer) string {
		return text(t, s.succeeded(t, "PutRepositoryCatalogData", a), "catalogData", "logoUrl")
	}
	first := url(put(picture(t, 60, 60)))
	if second := url(put(picture(t, 60, 60))); second == first {
		t.Error("a new logo has the old one's address")
	}
	kept := url(put(picture(t, 2048, 2048)))
	for what, logo := range map[string]string{
		"too narrow": picture(t, 59, 100), "too low": picture(t, 100, 59), "too wide": picture(t, 2049, 100), "too high": picture(t, 100, 2049), "no picture": "AAAA",
		"an SVG":  base64.StdEncoding.EncodeToString([]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>`)),
		"cut off": picture(t, 100, 100)[:100],
	} {
		a := put(logo)
		if a.status != http.StatusBadRequest || text(t, a.json(t), "__type") != invalidParameter || !strings.Contains(string(a.body), "logoImageBlob") {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	same(t, "after what was refused", kept, text(t, s.succeed(t, "GetRepositoryCatalogData", object{"repositoryName": repo}), "catalogData", "logoUrl"))
	s.refusal(t, "a byte too many", put(base64.StdEncoding.EncodeToString(make([]byte, 512_001))), invalidParameter,
		parameterText("catalogData.logoImageBlob", "Member must have length less than or equal to 512000"))
}

func (s *suite) publicPolicy(t *testing.T) {
	repo := s.repo(t, "policy")
	in := object{"repositoryName": repo}
	none := "Repository policy does not exist for the repository with name '" + repo + "' in the registry with id '" + s.Account + "'"
	s.refused(t, "GetRepositoryPolicy", in, "RepositoryPolicyNotFoundException", none)
	s.refused(t, "DeleteRepositoryPolicy", in, "RepositoryPolicyNotFoundException", none)
	given := `{"Version":"2008-10-17","Statement":[{"Sid":"ECR Public Repository Policy","Effect":"Allow","Principal":{"AWS":["` + s.Account + `"]},"Action":["ecr-public:DescribeImages","ecr-public:PutImage"]},{"Effect":"Deny","Principal":"*","Action":"ecr-public:DeleteRepository"}]}`
	pretty := `{
  "Version" : "2008-10-17",
  "Statement" : [ {
    "Sid" : "ECR Public Repository Policy",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : [ "arn:aws:iam::` + s.Account + `:root" ]
    },
    "Action" : [ "ecr-public:DescribeImages", "ecr-public:PutImage" ]
  }, {
    "Effect" : "Deny",
    "Principal" : "*",
    "Action" : "ecr-public:DeleteRepository"
  } ]
}`
	s.succeed(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": given})
	want := object{"registryId": s.Account, "repositoryName": repo, "policyText": pretty}
	for range 2 {
		s.want(t, "GetRepositoryPolicy", in, want)
		s.want(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": pretty}, want)
	}
	s.refused(t, "DeleteRepository", in, "AccessDeniedException", "User: "+s.me+" is not authorized to perform: ecr-public:DeleteRepository on resource: "+
		s.arn(s.Account, repo)+" with an explicit deny in a resource-based policy")
	s.want(t, "DeleteRepositoryPolicy", in, want)
	s.refused(t, "GetRepositoryPolicy", in, "RepositoryPolicyNotFoundException", none)
	for what, document := range map[string]string{
		"no JSON": `x`, "nothing": ``, "no principal": policyDocument(`{"Effect":"Allow","Action":"ecr-public:PutImage"}`),
		"the private service": policyDocument(`{"Effect":"Allow","Principal":"*","Action":"ecr:PutImage"}`),
		"another service":     policyDocument(`{"Effect":"Allow","Principal":"*","Action":["ecr-public:PutImage","s3:GetObject"]}`),
	} {
		t.Log(what)
		s.refused(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": document}, invalidParameter, invalidPolicy)
	}
	locking := object{"repositoryName": repo, "policyText": policyDocument(`{"Effect":"Deny","Principal":"*","Action":"ecr-public:*"}`)}
	s.refused(t, "SetRepositoryPolicy", locking, invalidParameter,
		parameterText("PolicyText", "The policy would prevent you from setting another policy in the future. Use force to set it all the same"))
	locking["force"] = true
	s.succeed(t, "SetRepositoryPolicy", locking)
	s.refused(t, "DescribeImages", in, "AccessDeniedException", "User: "+s.me+" is not authorized to perform: ecr-public:DescribeImages on resource: "+
		s.arn(s.Account, repo)+" with an explicit deny in a resource-based policy")
	s.succeed(t, "DeleteRepositoryPolicy", in)
	s.succeed(t, "DescribeImages", in)
}

// publicRegions: the API is in one region, and says which.
func (s *suite) publicRegions(t *testing.T) {
	for _, op := range []string{"DescribeRegistries", "GetAuthorizationToken", "CreateRepository"} {
		s.refusal(t, op, s.do(t, call{op: op, region: s.OtherRegion}), "UnsupportedCommandException",
			"ECR Public is in "+s.Region+" only: call with --region "+s.Region)
	}
}

// publicAnotherAccount: whatever stands in public, everything but pulls needs leave.
func (s *suite) publicAnotherAccount(t *testing.T) {
	alias, repo := s.alias(t), s.repo(t, "ours")
	stranger := "arn:aws:iam::" + s.OtherAccount + ":root"
	as := func(op string, in object) answer {
		t.Helper()
		return s.do(t, call{op: op, in: in, as: s.Other})
	}
	for _, name := range []string{repo, unique("none")} { // there and not there look the same
		for op, in := range map[string]object{
			"DescribeImages": {}, "DescribeImageTags": {}, "GetRepositoryCatalogData": {}, "GetRepositoryPolicy": {}, "DeleteRepository": {"force": true},
			"PutRepositoryCatalogData": {"catalogData": object{}}, "BatchDeleteImage": {"imageIds": array{byTag("v1")}},
		} {
			in["repositoryName"], in["registryId"] = name, s.Account
			s.refusal(t, op, as(op, in), "AccessDeniedException", s.denied(stranger, "ecr-public:"+op, s.arn(s.Account, name)))
		}
		s.refusal(t, "by alias", as("InitiateLayerUpload", object{"repositoryName": name, "registryId": alias}), "AccessDeniedException",
			s.denied(stranger, "ecr-public:InitiateLayerUpload", s.arn(s.Account, name)))
		s.refusal(t, "TagResource", as("TagResource", object{"resourceArn": s.arn(s.Account, name), "tags": array{}}), "AccessDeniedException",
			s.denied(stranger, "ecr-public:TagResource", s.arn(s.Account, name)))
	}
	// With leave it pushes, under the alias.
	s.succeed(t, "SetRepositoryPolicy", object{"repositoryName": repo, "policyText": policyDocument(`{"Effect":"Allow","Principal":{"AWS":"` + s.OtherAccount + `"},"Action":"ecr-public:*"}`)})
	k := s.kit(t, repo)
	for n, registry := range []string{alias, s.Account} {
		tag := fmt.Sprint("theirs-", n)
		in := putInput(repo, tag, k.image(t))
		in["registryId"] = registry
		same(t, "PutImage", object{"image": s.imageAnswer(repo, tag, in["imageManifest"].(string), typeImage)}, s.succeeded(t, "PutImage", as("PutImage", in)))
	}
	got := s.succeeded(t, "DescribeRepositories", as("DescribeRepositories", object{"registryId": s.Account, "repositoryNames": array{repo}}))
	same(t, "repositoryUri", s.PublicRegistry+"/"+alias+"/"+repo, got["repositories"].([]any)[0].(object)["repositoryUri"])

	// Both have a registry, with an alias of its own.
	theirs := text(t, s.succeeded(t, "CreateRepository", as("CreateRepository", object{"repositoryName": unique("theirs")}))["repository"].(object), "repositoryUri")
	if strings.HasPrefix(theirs, s.PublicRegistry+"/"+alias+"/") || !strings.HasPrefix(theirs, s.PublicRegistry+"/") {
		t.Errorf("the other's repository is %s", theirs)
	}
}

// publicHosts: the API answers on the names that AWS has for it.
func (s *suite) publicHosts(t *testing.T) {
	for _, host := range []string{"api.ecr-public." + s.Region + "." + s.Domain, "ecr-public." + s.Region + "." + s.Domain} {
		a := s.do(t, call{op: "CreateRepository", in: object{"repositoryName": unique("host")}, host: host + s.port()})
		uri := text(t, s.succeeded(t, host, a)["repository"].(object), "repositoryUri")
		if registry, _, _ := strings.Cut(uri, "/"); registry == s.PublicRegistry || !strings.HasPrefix(registry, "public.") || !strings.HasSuffix(registry, s.port()) {
			t.Errorf("%s: the registry is %s", host, registry)
		}
	}
	s.refusal(t, "at ECR's host", s.do(t, call{op: "DescribeRegistries", host: "api.ecr." + s.Region + "." + s.Domain + s.port()}), "UnknownOperationException", "")
}

// publicBuilt is the whole model.
func (s *suite) publicBuilt(t *testing.T) {
	if len(s.PublicBuilt) != 23 {
		t.Errorf("%d operations are listed, the service model has 23", len(s.PublicBuilt))
	}
	for _, op := range s.PublicBuilt {
		if a := s.do(t, call{op: op}); a.status != http.StatusOK && strings.Contains(string(a.body), "UnknownOperation") {
			t.Errorf("%s is said to be built and answers %s", op, a.body)
		}
	}
}
