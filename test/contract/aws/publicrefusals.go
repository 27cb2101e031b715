package aws

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic/types"
)

const publicNamePattern = `(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*`

// namePattern is the pattern of repository names in the API's messages.
func (s *suite) namePattern() string {
	if s.public {
		return publicNamePattern
	}
	return namePattern
}

// publicBadCases are wrong calls of the ECR Public API. What it shares with ECR's is in
// the other table.
func publicBadCases() []badCase {
	const (
		create, catalog, tags, registry = "CreateRepository", "PutRepositoryCatalogData", "DescribeImageTags", "PutRegistryCatalogData"
		pattern                         = "must satisfy regular expression '<name pattern>'"
		shortest, longest               = "Member must have length greater than or equal to 1", "Member must have length less than or equal to "
	)
	data := func(members string) string {
		return `{"repositoryName":"<repo>","catalogData":{` + members + `}}`
	}
	return []badCase{
		at(create, "no name", `{}`, "repositoryName", "must not be null"),
		at(create, "upper case", `{"repositoryName":"Team/App"}`, "repositoryName", pattern),
		at(create, "two underscores", `{"repositoryName":"a__b"}`, "repositoryName", pattern),
		at(create, "two hyphens", `{"repositoryName":"a--b"}`, "repositoryName", pattern),
		at(create, "one character", `{"repositoryName":"a"}`, "repositoryName", "must have length greater than or equal to 2"),
		at(create, "206 characters", `{"repositoryName":"«206 a»"}`, "repositoryName", "must have length less than or equal to 205"),
		{create, "a name that is taken", `{"repositoryName":"<repo>"}`, "RepositoryAlreadyExistsException", "The repository with name '<repo>' already exists in the registry with id '<acct>'"},
		at(create, "201 tags", `{"repositoryName":"<none>","tags":[«200 {"Key":"k"},»{"Key":"k"}]}`, "tags", longest+"200"),
		{create, "51 tags", `{"repositoryName":"<none>","tags":[` + numbered(51) + `]}`, "TooManyTagsException", strings.Replace(tooManyTags, "%d", "50", 1)},
		{create, "a tag without a key", `{"repositoryName":"<none>","tags":[{"Value":"v"}]}`, invalidTag, "Invalid tag key '': a key has 1 to 128 characters"},
		at(create, "an empty key", `{"repositoryName":"<none>","tags":[{"Key":"","Value":"v"}]}`, "tags.1.member.key", shortest),
		at(create, "a key of 129 characters", `{"repositoryName":"<none>","tags":[{"Key":"«129 k»"}]}`, "tags.1.member.key", longest+"128"),
		at(create, "a value of 257 characters", `{"repositoryName":"<none>","tags":[{"Key":"k","Value":"«257 v»"}]}`, "tags.1.member.value", longest+"256"),
		{create, "a reserved key", `{"repositoryName":"<none>","tags":[{"Key":"aws:k"}]}`, invalidTag, "Invalid tag key 'aws:k': the prefix 'aws:' is reserved"},
		{create, "a key that stands twice", `{"repositoryName":"<none>","tags":[{"Key":"k"},{"Key":"k"}]}`, invalidTag, "Invalid tags: the tag key 'k' is given more than once"},
		at(create, "catalog data that is too long", `{"repositoryName":"<none>","catalogData":{"description":"«1025 d»"}}`, "catalogData.description", longest+"1024"),
		at(catalog, "no data", `{"repositoryName":"<repo>"}`, "catalogData", "Member must not be null"),
		at(catalog, "a description of 1025 characters", data(`"description":"«1025 d»"`), "catalogData.description", longest+"1024"),
		at(catalog, "an about text of 25601 characters", data(`"aboutText":"«25601 a»"`), "catalogData.aboutText", longest+"25600"),
		at(catalog, "a usage text of 25601 characters", data(`"usageText":"«25601 u»"`), "catalogData.usageText", longest+"25600"),
		at(catalog, "51 architectures", data(`"architectures":[«50 "x86",»"x86"]`), "catalogData.architectures", longest+"50"),
		at(catalog, "51 operating systems", data(`"operatingSystems":[«50 "Linux",»"Linux"]`), "catalogData.operatingSystems", longest+"50"),
		at(catalog, "an architecture of no length", data(`"architectures":[""]`), "catalogData.architectures", "Member must satisfy constraint: ["+shortest+"]"),
		at(catalog, "an operating system of 51 characters", data(`"operatingSystems":["«51 o»"]`), "catalogData.operatingSystems", "Member must satisfy constraint: ["+longest+"50]"),
		{"GetRepositoryCatalogData", "nothing said yet", `{"repositoryName":"<repo>"}`, "RepositoryCatalogDataNotFoundException", "The catalog data for repository with name '<repo>' in registry with id '<acct>' does not exist"},
		at(registry, "a display name of 101 characters", `{"displayName":"«101 n»"}`, "displayName", longest+"100"),
		at(tags, "no results", `{"repositoryName":"<repo>","maxResults":0}`, "maxResults", "Member must have value greater than or equal to 1"),
		at(tags, "1001 results", `{"repositoryName":"<repo>","maxResults":1001}`, "maxResults", "Member must have value less than or equal to 1000"),
		at(tags, "a page token that is none", `{"repositoryName":"<repo>","nextToken":"x"}`, "nextToken", badToken),
		at(tags, "an alias", `{"repositoryName":"<repo>","registryId":"alias"}`, "registryId", "must satisfy regular expression '[0-9]{12}'"),
		at("DescribeRegistries", "1001 results", `{"maxResults":1001}`, "maxResults", "Member must have value less than or equal to 1000"),
		at("DescribeRegistries", "a page token that is none", `{"nextToken":"x"}`, "nextToken", badToken),
		at("DescribeImages", "images and a page", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"v1"}],"maxResults":5}`, "imageIds", "nextToken and maxResults cannot be used together with imageIds"),
		at("DescribeRepositories", "names and a page", `{"repositoryNames":["<repo>"],"maxResults":5}`, "repositoryNames", "nextToken and maxResults cannot be used together with repositoryNames"),
		{"InitiateLayerUpload", "an alias that nobody has", `{"repositoryName":"<repo>","registryId":"nobody-has-this"}`, "RegistryNotFoundException", "The registry with alias 'nobody-has-this' does not exist"},
		{"PutImage", "a registry that is not there", `{"repositoryName":"<repo>","registryId":"111122223333","imageManifest":"{}"}`, "RegistryNotFoundException", "The registry with id '111122223333' does not exist"},
		at("PutImage", "an alias of one character", `{"repositoryName":"<repo>","registryId":"a","imageManifest":"{}"}`, "registryId", "Member must have length greater than or equal to 2"),
		at("PutImage", "a tag that is none", `{"repositoryName":"<repo>","imageTag":"a/b","imageManifest":"<manifest>"}`, "imageTag", "must satisfy regular expression '[a-zA-Z0-9-_.]+'"),
		{"PutImage", "an image that is there", `{"repositoryName":"<repo>","imageTag":"v1","imageManifest":"<manifest>"}`, "ImageAlreadyExistsException", "Image with digest '<image>' and tag 'v1' already exists in the repository with name '<repo>' in registry with id '<acct>'"},
		at("SetRepositoryPolicy", "another service's actions", `{"repositoryName":"<repo>","policyText":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"ecr:PutImage\"}]}"}`, "PolicyText", "Invalid repository policy provided"),
		at("UntagResource", "a key of no length", `{"resourceArn":"<arn>","tagKeys":[""]}`, "tagKeys", "Member must satisfy constraint: ["+shortest+"]"),
		at("ListTagsForResource", "a private repository", `{"resourceArn":"arn:aws:ecr:<region>:<acct>:repository/<repo>"}`, "resourceArn", "Invalid ARN"),
		at("ListTagsForResource", "an ARN with a region", `{"resourceArn":"arn:aws:ecr-public:<region>:<acct>:repository/<repo>"}`, "resourceArn", "Invalid ARN"),
	}
}

// numbered are n resource tags.
func numbered(n int) string {
	var all []string
	for i := range n {
		all = append(all, `{"Key":"k`+strings.Repeat("x", i)+`"}`)
	}
	return strings.Join(all, ",")
}

func (s *suite) publicBadInput(t *testing.T) { s.refuseAll(t, publicBadCases()) }

// publicCalls are the operations on one repository whose registryId is an account's, with
// an input that is right but for the repository.
func publicCalls() map[string]object {
	return map[string]object{
		"DeleteRepository": {}, "DescribeImages": {}, "DescribeImageTags": {}, "GetRepositoryCatalogData": {}, "PutRepositoryCatalogData": {"catalogData": object{}},
		"GetRepositoryPolicy": {}, "DeleteRepositoryPolicy": {}, "SetRepositoryPolicy": {"policyText": policyDocument(`{"Effect":"Allow","Principal":"*","Action":"ecr-public:PutImage"}`)},
	}
}

// publicRefusals come in the order of ECR's: what is malformed, what is not allowed, what
// is not there.
func (s *suite) publicRefusals(t *testing.T) {
	const stranger = "111122223333"
	name := unique("missing")
	for op, in := range publicCalls() {
		with := func(members object) object {
			out := object{}
			for _, m := range []object{in, members} {
				for k, v := range m {
					out[k] = v
				}
			}
			return out
		}
		s.invalid(t, op, in, "repositoryName", "must not be null")
		s.invalid(t, op, with(object{"repositoryName": "Team/App", "registryId": stranger}), "repositoryName", "must satisfy regular expression '"+publicNamePattern+"'")
		for _, id := range []string{"", "12345678901", "an-alias"} {
			s.invalid(t, op, with(object{"repositoryName": name, "registryId": id}), "registryId", "must satisfy regular expression '[0-9]{12}'")
		}
		s.refused(t, op, with(object{"repositoryName": name, "registryId": stranger}), "AccessDeniedException", s.denied(s.me, "ecr-public:"+op, s.arn(stranger, name)))
		for _, members := range []object{{"repositoryName": name}, {"repositoryName": name, "registryId": s.Account}} {
			s.refused(t, op, with(members), "RepositoryNotFoundException", s.noRepository(name))
		}
	}
	for _, op := range []string{"ListTagsForResource", "TagResource", "UntagResource"} {
		in := func(arn string) object {
			return object{"resourceArn": arn, "tags": array{}, "tagKeys": array{}}
		}
		for _, bad := range []string{
			"nonsense", "arn:aws:ecr-public", s.arn(s.Account, "") + "Team", s.arn("12345", name), strings.Replace(s.arn(s.Account, name), ":ecr-public:", ":s3:", 1),
			strings.Replace(s.arn(s.Account, name), "arn:aws:", "arn:aws-cn:", 1), strings.Replace(s.arn(s.Account, name), ":repository/", ":registry/", 1),
		} {
			s.invalid(t, op, in(bad), "resourceArn", "Invalid ARN")
		}
		s.refused(t, op, in(s.arn(stranger, name)), "AccessDeniedException", s.denied(s.me, "ecr-public:"+op, s.arn(stranger, name)))
		s.refused(t, op, in(s.arn(s.Account, name)), "RepositoryNotFoundException", s.noRepository(name))
	}
}

// publicSDKErrors: the SDK finds its own type behind each exception.
func (s *suite) publicSDKErrors(t *testing.T) {
	ctx, api := t.Context(), ecrpublic.NewFromConfig(s.config(s.caller(), s.Region))
	repo := s.repo(t, "errors")
	k := s.kit(t, repo)
	image := k.image(t)
	s.put(t, repo, "v1", image)
	none := aws.String(unique("none"))

	_, err := api.DeleteRepository(ctx, &ecrpublic.DeleteRepositoryInput{RepositoryName: none})
	typed[*types.RepositoryNotFoundException](t, err)
	_, err = api.CreateRepository(ctx, &ecrpublic.CreateRepositoryInput{RepositoryName: &repo})
	typed[*types.RepositoryAlreadyExistsException](t, err)
	_, err = api.DeleteRepository(ctx, &ecrpublic.DeleteRepositoryInput{RepositoryName: &repo})
	typed[*types.RepositoryNotEmptyException](t, err)
	_, err = api.CreateRepository(ctx, &ecrpublic.CreateRepositoryInput{RepositoryName: aws.String("NO")})
	typed[*types.InvalidParameterException](t, err)
	_, err = api.CreateRepository(ctx, &ecrpublic.CreateRepositoryInput{RepositoryName: none, Tags: []types.Tag{{Key: aws.String("aws:k"), Value: aws.String("v")}}})
	typed[*types.InvalidTagParameterException](t, err)
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = types.Tag{Key: aws.String(unique("k"))}
	}
	_, err = api.CreateRepository(ctx, &ecrpublic.CreateRepositoryInput{RepositoryName: none, Tags: many})
	typed[*types.TooManyTagsException](t, err)
	_, err = api.GetRepositoryPolicy(ctx, &ecrpublic.GetRepositoryPolicyInput{RepositoryName: &repo})
	typed[*types.RepositoryPolicyNotFoundException](t, err)
	_, err = api.GetRepositoryCatalogData(ctx, &ecrpublic.GetRepositoryCatalogDataInput{RepositoryName: &repo})
	typed[*types.RepositoryCatalogDataNotFoundException](t, err)
	_, err = api.InitiateLayerUpload(ctx, &ecrpublic.InitiateLayerUploadInput{RepositoryName: &repo, RegistryId: aws.String("nobody-has-this")})
	typed[*types.RegistryNotFoundException](t, err)
	if s.OtherRegion != "" {
		_, err = ecrpublic.NewFromConfig(s.config(s.caller(), s.OtherRegion)).DescribeRegistries(ctx, &ecrpublic.DescribeRegistriesInput{})
		typed[*types.UnsupportedCommandException](t, err)
	}
	_, err = api.DescribeImages(ctx, &ecrpublic.DescribeImagesInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v2")}}})
	typed[*types.ImageNotFoundException](t, err)

	put := func(in ecrpublic.PutImageInput) error {
		in.RepositoryName = &repo
		_, err := api.PutImage(ctx, &in)
		return err
	}
	typed[*types.ImageAlreadyExistsException](t, put(ecrpublic.PutImageInput{ImageManifest: &image, ImageTag: aws.String("v1")}))
	typed[*types.ImageDigestDoesNotMatchException](t, put(ecrpublic.PutImageInput{ImageManifest: &image, ImageDigest: aws.String(someDigest())}))
	lacking := k.manifest()
	lacking.Layers = []descriptor{{MediaType: typeLayer, Digest: someDigest(), Size: 5}}
	typed[*types.LayersNotFoundException](t, put(ecrpublic.PutImageInput{ImageManifest: aws.String(lacking.text(t))}))
	typed[*types.ReferencedImagesNotFoundException](t, put(ecrpublic.PutImageInput{ImageManifest: aws.String(indexOf(t, "not there"))}))

	upload := s.begin(t, repo)
	send := func(first, last int64, b []byte) error {
		_, err := api.UploadLayerPart(ctx, &ecrpublic.UploadLayerPartInput{RepositoryName: &repo, UploadId: &upload, PartFirstByte: &first, PartLastByte: &last, LayerPartBlob: b})
		return err
	}
	finish := func(digest string) error {
		_, err := api.CompleteLayerUpload(ctx, &ecrpublic.CompleteLayerUploadInput{RepositoryName: &repo, UploadId: &upload, LayerDigests: []string{digest}})
		return err
	}
	typed[*types.EmptyUploadException](t, finish(k.layer.Digest))
	if err := send(0, 9, randomBytes(10)); err != nil {
		t.Fatal(err)
	}
	typed(t, send(20, 29, randomBytes(10)), func(e *types.InvalidLayerPartException) {
		if aws.ToString(e.RegistryId) != s.Account || aws.ToString(e.RepositoryName) != repo || aws.ToString(e.UploadId) != upload || aws.ToInt64(e.LastValidByteReceived) != 9 {
			t.Errorf("the exception's members are %s, %s, %s, %d", aws.ToString(e.RegistryId), aws.ToString(e.RepositoryName), aws.ToString(e.UploadId), aws.ToInt64(e.LastValidByteReceived))
		}
	})
	if err := send(10, 19, randomBytes(10)); err != nil {
		t.Fatal(err)
	}
	typed[*types.LayerPartTooSmallException](t, finish(k.layer.Digest))
	upload = s.begin(t, repo)
	if err := send(0, int64(len(k.content))-1, k.content); err != nil {
		t.Fatal(err)
	}
	typed[*types.LayerAlreadyExistsException](t, finish(k.layer.Digest))
	upload = s.begin(t, repo)
	if err := send(0, 9, randomBytes(10)); err != nil {
		t.Fatal(err)
	}
	typed[*types.InvalidLayerException](t, finish(k.layer.Digest))
	upload = "00000000-0000-4000-8000-000000000000"
	typed[*types.UploadNotFoundException](t, finish(k.layer.Digest))
}
