package aws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// repositoryAnswer is a repository with the settings that hold where nothing is
// said, as answers have to give it.
func (s *suite) repositoryAnswer(repo string, before time.Time) object {
	return object{
		"repositoryArn": s.arn(s.Account, repo), "registryId": s.Account, "repositoryName": repo,
		"repositoryUri": s.host() + "/" + repo, "createdAt": during(before), "imageTagMutability": "MUTABLE",
		"imageScanningConfiguration": object{"scanOnPush": false},
		"encryptionConfiguration":    object{"encryptionType": "AES256"},
	}
}

// wildcards are exclusion filters.
func wildcards(filters ...string) array {
	var all array
	for _, f := range filters {
		all = append(all, object{"filterType": "WILDCARD", "filter": f})
	}
	return all
}

func (s *suite) createRepository(t *testing.T) {
	before := time.Now()
	repo := unique("create") + "/in/parts"
	plain := s.repositoryAnswer(repo, before)
	created := s.want(t, "CreateRepository", object{"repositoryName": repo}, object{"repository": plain})
	found := s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{plain}})
	same(t, "the two answers", created["repository"], found["repositories"].([]any)[0])
	exists := "The repository with name '" + repo + "' already exists in the registry with id '" + s.Account + "'"
	s.refused(t, "CreateRepository", object{"repositoryName": repo}, "RepositoryAlreadyExistsException", exists)
	s.refused(t, "CreateRepository", object{"repositoryName": repo, "imageTagMutability": "IMMUTABLE"}, "RepositoryAlreadyExistsException", exists)
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{plain}})

	full := unique("create")
	want := s.repositoryAnswer(full, before)
	want["imageTagMutability"] = "IMMUTABLE_WITH_EXCLUSION"
	want["imageTagMutabilityExclusionFilters"] = wildcards("latest", "dev-*")
	want["imageScanningConfiguration"] = object{"scanOnPush": true}
	s.want(t, "CreateRepository", object{
		"registryId": s.Account, "repositoryName": full, "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
		"imageTagMutabilityExclusionFilters": wildcards("latest", "dev-*"), "imageScanningConfiguration": object{"scanOnPush": true},
		"encryptionConfiguration": object{"encryptionType": "AES256"}, "tags": array{object{"Key": "team", "Value": ""}, object{"Key": "a", "Value": "b"}},
	}, object{"repository": want})
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{full}}, object{"repositories": array{want}})
	s.want(t, "ListTagsForResource", object{"resourceArn": s.arn(s.Account, full)},
		object{"tags": anyOrder(object{"Key": "team", "Value": ""}, object{"Key": "a", "Value": "b"})})
	s.want(t, "ListTagsForResource", object{"resourceArn": s.arn(s.Account, repo)}, object{"tags": array{}})

	// A call that is refused leaves nothing behind.
	none := unique("create")
	s.refused(t, "CreateRepository", object{"repositoryName": none, "tags": array{object{"Key": "aws:k", "Value": "v"}}},
		"InvalidTagParameterException", "Invalid tag key 'aws:k': the prefix 'aws:' is reserved")
	s.refused(t, "DescribeRepositories", object{"repositoryNames": array{none}}, "RepositoryNotFoundException", s.noRepository(none))
}

// repositoryNames are those that are good; the bad ones stand in the table.
func (s *suite) repositoryNames(t *testing.T) {
	tail := unique("n")[1:]
	for _, good := range []string{
		"0" + tail, "12345" + tail, "with.dot" + tail, "with_one" + tail, "with__two" + tail, "with---many" + tail, "a/b/c/d/e/f/g/h" + tail,
		"a.b/c_d/e-f" + tail, strings.Repeat("n", 256-len(tail)) + tail,
	} {
		s.succeed(t, "CreateRepository", object{"repositoryName": good})
		s.succeed(t, "DeleteRepository", object{"repositoryName": good})
	}
}

// encryption is chosen when a repository is made, and stays.
func (s *suite) encryption(t *testing.T) {
	before := time.Now()
	create := func(with object, key any) string {
		t.Helper()
		repo := unique("kms")
		want := s.repositoryAnswer(repo, before)
		want["encryptionConfiguration"] = object{"encryptionType": "KMS", "kmsKey": key}
		got := s.want(t, "CreateRepository", object{"repositoryName": repo, "encryptionConfiguration": with}, object{"repository": want})
		s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{want}})
		k := s.kit(t, repo)
		image := k.image(t)
		s.put(t, repo, "v1", image)
		s.want(t, "BatchGetImage", ids(repo, byTag("v1")), object{"failures": array{}, "images": array{s.imageAnswer(repo, "v1", image, typeImage)}})
		return text(t, got["repository"].(object), "encryptionConfiguration", "kmsKey")
	}
	// Without a key it is the account's own aws/ecr, and always the same one.
	arn := create(object{"encryptionType": "KMS"}, matching(`^arn:aws:kms:`+s.Region+`:`+s.Account+`:key/[0-9a-f-]+$`))
	_, id, _ := strings.Cut(arn, ":key/")
	create(object{"encryptionType": "KMS"}, arn)
	for _, key := range []string{arn, id, "alias/aws/ecr", "arn:aws:kms:" + s.Region + ":" + s.Account + ":alias/aws/ecr"} {
		create(object{"encryptionType": "KMS", "kmsKey": key}, arn)
	}
	for _, key := range []string{"alias/" + unique("none"), unique("none"), strings.Replace(arn, s.Account, "111122223333", 1)} {
		repo := unique("kms")
		s.refused(t, "CreateRepository", object{"repositoryName": repo, "encryptionConfiguration": object{"encryptionType": "KMS", "kmsKey": key}},
			"KmsException", "The repository's encryption key cannot be used: NotFoundException", object{"kmsError": "NotFoundException"})
		s.refused(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, "RepositoryNotFoundException", s.noRepository(repo))
	}
}

func (s *suite) describeRepositories(t *testing.T) {
	before := time.Now()
	one, two, none := s.repo(t, "describe"), s.repo(t, "describe"), unique("none")
	a, b := s.repositoryAnswer(one, before), s.repositoryAnswer(two, before)
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{two, one}}, object{"repositories": array{b, a}})
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{one, two}, "registryId": s.Account}, object{"repositories": array{a, b}})
	s.refused(t, "DescribeRepositories", object{"repositoryNames": array{one, none, two}}, "RepositoryNotFoundException", s.noRepository(none))
	const stranger = "111122223333"
	s.refused(t, "DescribeRepositories", object{"registryId": stranger}, "AccessDeniedException", s.denied(s.me, "ecr:DescribeRepositories", s.arn(stranger, "*")))
	s.refused(t, "DescribeRepositories", object{"registryId": stranger, "repositoryNames": array{one}}, "AccessDeniedException", s.denied(s.me, "ecr:DescribeRepositories", s.arn(stranger, one)))
	var hundred array
	for range 100 {
		hundred = append(hundred, one)
	}
	s.succeed(t, "DescribeRepositories", object{"repositoryNames": hundred})
	s.invalid(t, "DescribeRepositories", object{"repositoryNames": append(hundred, one)}, "repositoryNames", "Member must have length less than or equal to 100")
}

// repositoryPages: more than one default page, pages of every size, and pages
// that stay right while repositories come and go.
func (s *suite) repositoryPages(t *testing.T) {
	ctx := t.Context()
	prefix := unique("pages")
	var stays []string
	for i := range 101 {
		repo := fmt.Sprintf("%s/%03d", prefix, i)
		s.succeed(t, "CreateRepository", object{"repositoryName": repo})
		stays = append(stays, repo)
	}
	first := s.succeed(t, "DescribeRepositories", nil)
	if n := len(first["repositories"].([]any)); n != 100 {
		t.Errorf("a page has %d repositories where nothing is said, want 100", n)
	}
	text(t, first, "nextToken")
	walk := func(size int32, between func()) map[string]int {
		t.Helper()
		seen := map[string]int{}
		pages := ecr.NewDescribeRepositoriesPaginator(s.ecr, &ecr.DescribeRepositoriesInput{MaxResults: &size})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Repositories) > int(size) {
				t.Fatalf("a page of %d, want at most %d", len(page.Repositories), size)
			}
			for _, r := range page.Repositories {
				seen[aws.ToString(r.RepositoryName)]++
			}
			between()
		}
		return seen
	}
	check := func(what string, seen map[string]int) {
		t.Helper()
		for _, repo := range stays {
			if seen[repo] != 1 {
				t.Errorf("%s: %s comes %d times", what, repo, seen[repo])
			}
		}
	}
	for _, size := range []int32{1000, 33, 7} {
		check(fmt.Sprintf("pages of %d", size), walk(size, func() {}))
	}
	// The repository that a page ended with may be the one that goes.
	goes := slices.Clone(stays[40:60])
	stays = slices.Delete(stays, 40, 60)
	check("pages while repositories come and go", walk(9, func() {
		if len(goes) > 0 {
			s.succeed(t, "DeleteRepository", object{"repositoryName": goes[0]})
			goes = goes[1:]
		}
		s.succeed(t, "CreateRepository", object{"repositoryName": unique(prefix + "/new")})
	}))
}

func (s *suite) deleteRepository(t *testing.T) {
	before := time.Now()
	repo := s.repo(t, "delete")
	arn := s.arn(s.Account, repo)
	s.succeed(t, "TagResource", object{"resourceArn": arn, "tags": array{object{"Key": "k", "Value": "v"}}})
	k := s.kit(t, repo)
	image := k.image(t)
	digest := s.put(t, repo, "", image) // an untagged image counts
	upload := s.begin(t, repo)
	url := text(t, s.succeed(t, "GetDownloadUrlForLayer", object{"repositoryName": repo, "layerDigest": k.layer.Digest}), "downloadUrl")
	s.put(t, repo, "page", k.image(t))
	page := text(t, s.succeed(t, "ListImages", object{"repositoryName": repo, "maxResults": 1}), "nextToken")

	full := "The repository with name '" + repo + "' in registry with id '" + s.Account + "' cannot be deleted because it still contains images"
	for _, in := range []object{{"repositoryName": repo}, {"repositoryName": repo, "force": false}} {
		s.refused(t, "DeleteRepository", in, "RepositoryNotEmptyException", full)
	}
	want := object{"repository": s.repositoryAnswer(repo, before)}
	s.want(t, "DeleteRepository", object{"repositoryName": repo, "force": true}, want)
	for op, in := range map[string]object{
		"DeleteRepository": {"repositoryName": repo}, "ListImages": {"repositoryName": repo}, "ListTagsForResource": {"resourceArn": arn},
		"UploadLayerPart": part(repo, upload, 0, []byte("x")), "DescribeRepositories": {"repositoryNames": array{repo}},
	} {
		s.refused(t, op, in, "RepositoryNotFoundException", s.noRepository(repo))
	}
	if a := s.send(t, s.plain(t, http.MethodGet, url, nil)); a.status != http.StatusNotFound {
		t.Errorf("a download of the deleted repository: status %d", a.status)
	}

	// One of the same name has nothing of the old one.
	s.succeed(t, "CreateRepository", object{"repositoryName": repo})
	s.want(t, "ListImages", object{"repositoryName": repo}, object{"imageIds": array{}})
	s.want(t, "DescribeImages", object{"repositoryName": repo}, object{"imageDetails": array{}})
	s.want(t, "ListTagsForResource", object{"resourceArn": arn}, object{"tags": array{}})
	s.invalid(t, "ListImages", object{"repositoryName": repo, "nextToken": page}, "nextToken", badToken)
	s.refused(t, "UploadLayerPart", part(repo, upload, 0, []byte("x")), "UploadNotFoundException", s.noUpload(repo, upload))
	s.want(t, "BatchCheckLayerAvailability", object{"repositoryName": repo, "layerDigests": array{k.layer.Digest}},
		object{"failures": array{}, "layers": array{object{"layerDigest": k.layer.Digest, "layerAvailability": "UNAVAILABLE"}}})
	if a := s.send(t, s.plain(t, http.MethodGet, url, nil)); a.status != http.StatusNotFound {
		t.Errorf("an address of the old repository in the new one: status %d", a.status)
	}
	s.layer(t, repo, k.content) // may come again
	s.refused(t, "PutImage", putInput(repo, "v1", image), "LayersNotFoundException", s.noLayers(repo, k.config.Digest))
	s.want(t, "BatchGetImage", ids(repo, byDigest(digest)), object{"images": array{}, "failures": array{failure(byDigest(digest), "ImageNotFound", notFound)}})

	// Empty again, it goes without force.
	s.put(t, repo, "v1", s.kit(t, repo).image(t))
	s.succeed(t, "BatchDeleteImage", ids(repo, byTag("v1")))
	s.want(t, "DeleteRepository", object{"repositoryName": repo}, want)
}

// settingAnswer is the answer of PutImageTagMutability.
func (s *suite) settingAnswer(repo, setting string, filters array) object {
	want := object{"registryId": s.Account, "repositoryName": repo, "imageTagMutability": setting}
	if filters != nil {
		want["imageTagMutabilityExclusionFilters"] = filters
	}
	return want
}

func (s *suite) tagMutabilitySetting(t *testing.T) {
	before := time.Now()
	repo := s.repo(t, "setting")
	set := func(setting string, filters array) {
		t.Helper()
		in := object{"repositoryName": repo, "imageTagMutability": setting}
		want := s.repositoryAnswer(repo, before)
		want["imageTagMutability"] = setting
		if filters != nil {
			in["imageTagMutabilityExclusionFilters"], want["imageTagMutabilityExclusionFilters"] = filters, filters
		}
		for range 2 { // the same again is the same
			s.want(t, "PutImageTagMutability", in, s.settingAnswer(repo, setting, filters))
		}
		s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{want}})
	}
	set("IMMUTABLE", nil)
	set("IMMUTABLE_WITH_EXCLUSION", wildcards("*", "a.b_c-D*", strings.Repeat("x", 128), "v*", "latest"))
	set("MUTABLE_WITH_EXCLUSION", wildcards("z", "a")) // in the order that was given
	for _, setting := range []string{"MUTABLE_WITH_EXCLUSION", "IMMUTABLE_WITH_EXCLUSION"} {
		s.invalid(t, "PutImageTagMutability", object{"repositoryName": repo, "imageTagMutability": setting},
			"imageTagMutabilityExclusionFilters", "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as "+setting)
	}
	s.want(t, "DescribeRepositories", object{"repositoryNames": array{repo}}, object{"repositories": array{func() object {
		want := s.repositoryAnswer(repo, before)
		want["imageTagMutability"], want["imageTagMutabilityExclusionFilters"] = "MUTABLE_WITH_EXCLUSION", wildcards("z", "a")
		return want
	}()}})
	set("MUTABLE", nil) // and the filters are gone
}

func (s *suite) scanningSetting(t *testing.T) {
	repo := s.repo(t, "scanning")
	for _, c := range []struct {
		given object
		on    bool
	}{{object{"scanOnPush": true}, true}, {object{"scanOnPush": true}, true}, {object{}, false}, {object{"scanOnPush": true}, true}, {object{"scanOnPush": false}, false}} {
		s.want(t, "PutImageScanningConfiguration", object{"repositoryName": repo, "imageScanningConfiguration": c.given},
			object{"registryId": s.Account, "repositoryName": repo, "imageScanningConfiguration": object{"scanOnPush": c.on}})
		got := s.succeed(t, "DescribeRepositories", object{"repositoryNames": array{repo}})
		same(t, "scanOnPush", object{"scanOnPush": c.on}, got["repositories"].([]any)[0].(object)["imageScanningConfiguration"])
	}
}

func tag(key, value string) object { return object{"Key": key, "Value": value} }

func (s *suite) resourceTags(t *testing.T) {
	arn := s.arn(s.Account, s.repo(t, "tags"))
	list := func(want ...any) {
		t.Helper()
		s.want(t, "ListTagsForResource", object{"resourceArn": arn}, object{"tags": anyOrder(want...)})
	}
	list()
	put := func(tags ...any) {
		t.Helper()
		s.want(t, "TagResource", object{"resourceArn": arn, "tags": append(array{}, tags...)}, object{})
	}
	put(tag("a", "1"), tag("b", "2"))
	put(tag("b", "3"), tag("D", "4"), tag("c", ""))
	// Keys count letter by letter, but conditions on them do not: one that differs
	// from another in case only could hide it, and is refused.
	for _, tags := range []array{{tag("B", "5")}, {tag("d", "5"), tag("e", "6")}, {tag("E", "5"), tag("e", "6")}} {
		a := s.do(t, call{op: "TagResource", in: object{"resourceArn": arn, "tags": tags}})
		if text := string(a.body); a.status != http.StatusBadRequest || !strings.Contains(text, "InvalidTagParameterException") || !strings.Contains(text, "in case only") {
			t.Errorf("%v: %d %s", tags, a.status, text)
		}
	}
	put(tag("c", ""))
	put()
	list(tag("D", "4"), tag("a", "1"), tag("b", "3"), tag("c", ""))
	s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{"d"}}, object{}) // is not D
	s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{"a", "b", "unknown", "a"}}, object{})
	s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{"a"}}, object{})
	s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{}}, object{})
	if !s.public { // whose model bounds keys
		s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{"", "no tag's*", "\x00", strings.Repeat("k", 1000)}}, object{})
	}
	put(tag("B", "4")) // b has gone
	s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{"D"}}, object{})
	list(tag("B", "4"), tag("c", ""))
	put(tag("Größe + 1-2=3.4_5:6/7@8", "Ähnliche Zeichen 日本 +-=._:/@"), tag(strings.Repeat("ü", 128), strings.Repeat("ü", 256)))
	list(tag("B", "4"), tag("c", ""), tag("Größe + 1-2=3.4_5:6/7@8", "Ähnliche Zeichen 日本 +-=._:/@"), tag(strings.Repeat("ü", 128), strings.Repeat("ü", 256)))
}

// tooManyTags is the message of a call that would leave more than fifty.
const tooManyTags = "The list of tags on the repository is over the limit. The maximum number of tags that can be applied to a repository is %d."

func (s *suite) resourceTagLimits(t *testing.T) {
	arn := s.arn(s.Account, s.repo(t, "tags"))
	var fifty array
	for i := range 50 {
		fifty = append(fifty, tag(fmt.Sprintf("k%02d", i), "v"))
	}
	over := fmt.Sprintf(tooManyTags, 50)
	s.refused(t, "TagResource", object{"resourceArn": arn, "tags": append(slices.Clone(fifty), tag("more", "v"))}, "TooManyTagsException", over)
	s.want(t, "ListTagsForResource", object{"resourceArn": arn}, object{"tags": array{}})
	s.want(t, "TagResource", object{"resourceArn": arn, "tags": fifty}, object{})
	fifty[0] = tag("k00", "changed")
	s.want(t, "TagResource", object{"resourceArn": arn, "tags": array{fifty[0]}}, object{}) // none is added
	s.refused(t, "TagResource", object{"resourceArn": arn, "tags": array{tag("k01", "not changed"), tag("more", "v")}}, "TooManyTagsException", over)
	s.want(t, "ListTagsForResource", object{"resourceArn": arn}, object{"tags": anyOrder(fifty...)})
	s.want(t, "UntagResource", object{"resourceArn": arn, "tagKeys": array{"k49"}}, object{})
	s.want(t, "TagResource", object{"resourceArn": arn, "tags": array{tag("more", "v")}}, object{})
	s.succeed(t, "CreateRepository", object{"repositoryName": unique("tags"), "tags": fifty})
	s.refused(t, "CreateRepository", object{"repositoryName": unique("tags"), "tags": append(fifty, tag("more", "v"))}, "TooManyTagsException", over)
}

// repositoriesAtOnce: of many calls for one name exactly one succeeds.
func (s *suite) repositoriesAtOnce(t *testing.T) {
	repo := unique("race")
	in := object{"repositoryName": repo}
	created := s.atOnce(t, 16, func(int) call { return call{op: "CreateRepository", in: in} },
		"RepositoryAlreadyExistsException", "The repository with name '"+repo+"' already exists in the registry with id '"+s.Account+"'")
	deleted := s.atOnce(t, 16, func(int) call { return call{op: "DeleteRepository", in: in} }, "RepositoryNotFoundException", s.noRepository(repo))
	if created != 1 || deleted != 1 {
		t.Errorf("%d calls created and %d deleted the one repository", created, deleted)
	}
}

// atOnce makes n calls at the same time and returns how many succeeded. The
// others have to fail with the exception.
func (s *suite) atOnce(t *testing.T, n int, one func(int) call, exception, message string) int {
	t.Helper()
	succeeded := 0
	for _, a := range s.allAtOnce(t, n, one) {
		if a.status == http.StatusOK {
			succeeded++
			continue
		}
		s.refusal(t, "one of many", a, exception, message)
	}
	return succeeded
}

// allAtOnce makes n calls at the same time.
func (s *suite) allAtOnce(t *testing.T, n int, one func(int) call) []answer {
	t.Helper()
	answers, failed := make([]answer, n), make([]error, n)
	var calls sync.WaitGroup
	for i := range n {
		r := s.request(t, one(i))
		calls.Go(func() { answers[i], failed[i] = s.try(r) })
	}
	calls.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return answers
}
