package aws

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// badCase is a wrong call with its answer: a row of README.md.
//
// What stands in angle brackets in input and message is filled in from a
// repository that the check has made, see fill; «300 x» is three hundred x.
type badCase struct {
	op, what, input, exception, message string
}

func badCases() []badCase {
	var all []badCase
	for _, group := range [][]badCase{badNames(), badCreations(), badSettings(), badTags(), badLayers(), badImages(), badManifests(), badListings(), badRegistryIDs(), badTemplates(), badRegistrySettings(), badLifecycle(), badReplication(), badPullThroughs(), badScans()} {
		all = append(all, group...)
	}
	return all
}

// Exceptions that most rows have.
const (
	invalidParameter = "InvalidParameterException"
	invalidTag       = "InvalidTagParameterException"
)

// at is a row about a parameter that breaks a constraint.
func at(op, what, input, parameter, constraint string) badCase {
	return badCase{op, what, input, invalidParameter, parameterText(parameter, constraint)}
}

func badNames() []badCase {
	const op, member = "CreateRepository", "repositoryName"
	var cases []badCase
	row := func(what, name, constraint string) {
		cases = append(cases, at(op, what, `{"repositoryName":"`+name+`"}`, member, constraint))
	}
	const pattern = "must satisfy regular expression '<name pattern>'"
	row("upper case", "Team/App", pattern)
	row("a separator at the front", "-app", pattern)
	row("a separator at the end", "app-", pattern)
	row("two dots", "a..b", pattern)
	row("three underscores", "a___b", pattern)
	row("two different separators", "a._b", pattern)
	row("an empty segment", "team//app", pattern)
	row("a slash at the front", "/app", pattern)
	row("a slash at the end", "app/", pattern)
	row("a space", "team app", pattern)
	row("another alphabet", "größe", pattern)
	row("a line break at the end", `app\n`, pattern)
	row("a null byte", `app\u0000`, pattern)
	row("one character", "a", "must have length greater than or equal to 2")
	row("no character", "", "must have length greater than or equal to 2")
	row("257 characters", "«257 a»", "must have length less than or equal to 256")
	return append(cases,
		at(op, "no name", `{}`, member, "must not be null"),
		at("DescribeRepositories", "a bad name among good ones", `{"repositoryNames":["<repo>","Team"]}`, member, pattern))
}

// create is an input of CreateRepository with more members.
func create(more string) string { return `{"repositoryName":"<none>",` + more + `}` }

func badCreations() []badCase {
	const op = "CreateRepository"
	encrypted := func(with string) string { return create(`"encryptionConfiguration":{` + with + `}`) }
	return []badCase{
		{op, "a name that is taken", `{"repositoryName":"<repo>"}`, "RepositoryAlreadyExistsException", "The repository with name '<repo>' already exists in the registry with id '<acct>'"},
		at(op, "an unknown tag mutability", create(`"imageTagMutability":"SOMETIMES"`), "imageTagMutability", mutabilities),
		at(op, "an exclusion without filters", create(`"imageTagMutability":"MUTABLE_WITH_EXCLUSION"`), filters, "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as MUTABLE_WITH_EXCLUSION"),
		at(op, "filters without an exclusion", create(`"imageTagMutability":"IMMUTABLE",`+filter("WILDCARD", "v*")), filters, "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as IMMUTABLE"),
		at(op, "filters and nothing else", create(filter("WILDCARD", "v*")), filters, "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as MUTABLE"),
		at(op, "an unknown encryption type", encrypted(`"encryptionType":"DES"`), "encryptionConfiguration.encryptionType", "Member must satisfy enum value set: [AES256, KMS, KMS_DSSE]"),
		at(op, "no encryption type", encrypted(`"kmsKey":"k"`), "encryptionConfiguration.encryptionType", "Member must not be null"),
		at(op, "a key of no length", encrypted(`"encryptionType":"KMS","kmsKey":""`), "encryptionConfiguration.kmsKey", "Member must have length greater than or equal to 1"),
		at(op, "a key that is too long", encrypted(`"encryptionType":"KMS","kmsKey":"«2049 k»"`), "encryptionConfiguration.kmsKey", "Member must have length less than or equal to 2048"),
		at(op, "a key without KMS", encrypted(`"encryptionType":"AES256","kmsKey":"alias/aws/ecr"`), "encryptionConfiguration", "kmsKey can only be set when encryptionType is KMS"),
		at(op, "an encryption of GovCloud", encrypted(`"encryptionType":"KMS_DSSE"`), "encryptionType", "encryptionType 'KMS_DSSE' is not supported in this region"),
		at(op, "a tag without a key", create(`"tags":[{"Value":"v"}]`), "tags.1.member.key", "Member must not be null"),
	}
}

const (
	filters      = "imageTagMutabilityExclusionFilters"
	mutabilities = "Member must satisfy enum value set: [IMMUTABLE, MUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION]"
)

// filter is a member with one exclusion filter.
func filter(kind, text string) string {
	return `"` + filters + `":[{"filterType":"` + kind + `","filter":"` + text + `"}]`
}

func badSettings() []badCase {
	const op = "PutImageTagMutability"
	with := func(filters string) string {
		return `{"repositoryName":"<repo>","imageTagMutability":"IMMUTABLE_WITH_EXCLUSION",` + filters + `}`
	}
	const one = `{"filterType":"WILDCARD","filter":"v"}`
	const pattern = "Member must satisfy regular expression pattern: ^[0-9a-zA-Z._*-]{1,128}$"
	return []badCase{
		at(op, "no setting", `{"repositoryName":"<repo>"}`, "imageTagMutability", "Member must not be null"),
		at(op, "an unknown setting", `{"repositoryName":"<repo>","imageTagMutability":"mutable"}`, "imageTagMutability", mutabilities),
		at(op, "an exclusion without filters", `{"repositoryName":"<repo>","imageTagMutability":"IMMUTABLE_WITH_EXCLUSION"}`, filters, "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as IMMUTABLE_WITH_EXCLUSION"),
		at(op, "an empty list of filters", with(`"`+filters+`":[]`), filters, "Member must have length greater than or equal to 1"),
		at(op, "six filters", with(`"`+filters+`":[`+strings.Repeat(one+",", 5)+one+`]`), filters, "Member must have length less than or equal to 5"),
		at(op, "an unknown type of filter", with(filter("REGEX", "v")), filters+".1.member.filterType", "Member must satisfy enum value set: [WILDCARD]"),
		at(op, "a filter without a type", with(`"`+filters+`":[{"filter":"v"}]`), filters+".1.member.filterType", "Member must not be null"),
		at(op, "a filter of no length", with(filter("WILDCARD", "")), filters+".1.member.filter", "Member must have length greater than or equal to 1"),
		at(op, "a filter that is too long", with(filter("WILDCARD", "«129 v»")), filters+".1.member.filter", "Member must have length less than or equal to 128"),
		at(op, "a filter with other characters", with(filter("WILDCARD", "v?")), filters+".1.member.filter", pattern),
		at(op, "a bad filter behind a good one", with(`"`+filters+`":[`+one+`,{"filterType":"WILDCARD","filter":"a b"}]`), filters+".2.member.filter", pattern),
		at("PutImageScanningConfiguration", "no configuration", `{"repositoryName":"<repo>"}`, "imageScanningConfiguration", "Member must not be null"),
	}
}

func badTags() []badCase {
	const op = "TagResource"
	with := func(tags string) string { return `{"resourceArn":"<arn>","tags":[` + tags + `]}` }
	tagged := func(key, value string) string { return with(`{"Key":"` + key + `","Value":"` + value + `"}`) }
	return []badCase{
		at(op, "no resource", `{"tags":[]}`, "resourceArn", "Member must not be null"),
		at(op, "no tags", `{"resourceArn":"<arn>"}`, "tags", "Member must not be null"),
		at(op, "a resource that is no ARN", `{"resourceArn":"<repo>","tags":[]}`, "resourceArn", "Invalid ARN"),
		at(op, "a tag without a value", with(`{"Key":"k"}`), "tags.1.member.value", "Member must not be null"),
		{op, "an empty key", tagged("", "v"), invalidTag, "Invalid tag key '': a key has 1 to 128 characters"},
		{op, "a key of 129 characters", tagged("«129 k»", "v"), invalidTag, "Invalid tag key '«129 k»': a key has 1 to 128 characters"},
		{op, "a value of 257 characters", tagged("k", "«257 v»"), invalidTag, "Invalid value for tag key 'k': a value has at most 256 characters"},
		{op, "a reserved key", tagged("aws:k", "v"), invalidTag, "Invalid tag key 'aws:k': the prefix 'aws:' is reserved"},
		{op, "a reserved key in another writing", tagged("AwS:k", "v"), invalidTag, "Invalid tag key 'AwS:k': the prefix 'aws:' is reserved"},
		{op, "a reserved value", tagged("k", "aws:v"), invalidTag, "Invalid value for tag key 'k': the prefix 'aws:' is reserved"},
		{op, "a key with other characters", tagged("k*", "v"), invalidTag, "Invalid tag key 'k*': letters, digits, spaces and _ . : / = + - @ can be used"},
		{op, "a value with other characters", tagged("k", `v\u0000`), invalidTag, "Invalid value for tag key 'k': letters, digits, spaces and _ . : / = + - @ can be used"},
		{op, "a key that stands twice", with(`{"Key":"k","Value":"1"},{"Key":"k","Value":"2"}`), invalidTag, "Invalid tags: the tag key 'k' is given more than once"},
		at("UntagResource", "no keys", `{"resourceArn":"<arn>"}`, "tagKeys", "Member must not be null"),
		at("ListTagsForResource", "no resource", `{}`, "resourceArn", "Member must not be null"),
		at("ListTagsForResource", "a resource of another region", `{"resourceArn":"arn:aws:ecr:moon-west-9:<acct>:repository/<repo>"}`, "resourceArn", "Invalid ARN"),
		at("ListTagsForResource", "a resource of another service", `{"resourceArn":"arn:aws:s3:<region>:<acct>:repository/<repo>"}`, "resourceArn", "Invalid ARN"),
	}
}

func badLayers() []badCase {
	const uuid = "must satisfy regular expression '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}'"
	const digest = "Member must satisfy constraint: [Member must satisfy regular expression pattern: " + digestPattern + "]"
	in := func(more string) string { return `{"repositoryName":"<repo>",` + more + `}` }
	sent := func(first, last int, blob string) string {
		return in(fmt.Sprintf(`"uploadId":"<upload>","partFirstByte":%d,"partLastByte":%d,"layerPartBlob":"%s"`, first, last, blob))
	}
	const check, send, end, get = "BatchCheckLayerAvailability", "UploadLayerPart", "CompleteLayerUpload", "GetDownloadUrlForLayer"
	misplaced := "Invalid layer part with first byte '%d' and last byte '%d' for the upload with id '<upload>' in the repository with name '<repo>' in registry with id '<acct>': %s"
	return []badCase{
		at(check, "no digests", in(`"x":0`), "layerDigests", "Member must not be null"),
		at(check, "an empty list of digests", in(`"layerDigests":[]`), "layerDigests", "Member must have length greater than or equal to 1"),
		at(check, "101 digests", in(`"layerDigests":[«100 "d",»"d"]`), "layerDigests", "Member must have length less than or equal to 100"),
		at(check, "a digest of 1001 characters", in(`"layerDigests":["«1001 d»"]`), "layerDigests", "Member must satisfy constraint: [Member must have length less than or equal to 1000]"),
		at(send, "no upload", in(`"partFirstByte":0,"partLastByte":0,"layerPartBlob":""`), "uploadId", "must not be null"),
		at(send, "an upload id that is none", in(`"uploadId":"x","partFirstByte":0,"partLastByte":0,"layerPartBlob":"AA=="`), "uploadId", uuid),
		{send, "an unknown upload", in(`"uploadId":"00000000-0000-4000-8000-000000000000","partFirstByte":0,"partLastByte":0,"layerPartBlob":"AA=="`), "UploadNotFoundException", "The upload with id '00000000-0000-4000-8000-000000000000' does not exist in the repository with name '<repo>' in the registry with id '<acct>'"},
		{send, "an upload of another repository", in(`"uploadId":"<foreign upload>","partFirstByte":0,"partLastByte":0,"layerPartBlob":"AA=="`), "UploadNotFoundException", "The upload with id '<foreign upload>' does not exist in the repository with name '<repo>' in the registry with id '<acct>'"},
		at(send, "no bytes", in(`"uploadId":"<upload>","partFirstByte":0,"partLastByte":0`), "layerPartBlob", "Member must not be null"),
		at(send, "a negative position", sent(-1, 0, "AA=="), "partFirstByte", "Member must have value greater than or equal to 0"),
		at(send, "the end before the beginning", sent(5, 4, "AA=="), "partLastByte", "partLastByte must not be less than partFirstByte"),
		{send, "a gap", sent(5, 5, "AA=="), "InvalidLayerPartException", fmt.Sprintf(misplaced, 5, 5, "the next byte is 0")},
		{send, "fewer bytes than announced", sent(0, 9, "AA=="), "InvalidLayerPartException", fmt.Sprintf(misplaced, 0, 9, "1 bytes were sent")},
		{send, "more bytes than announced", sent(0, 0, "AAAA"), "InvalidLayerPartException", fmt.Sprintf(misplaced, 0, 0, "more bytes were sent")},
		{end, "nothing uploaded", in(`"uploadId":"<upload>","layerDigests":["<image>"]`), "EmptyUploadException", "The upload with id '<upload>' in the repository with name '<repo>' in registry with id '<acct>' cannot be completed because it does not have any parts"},
		at(end, "no digests", in(`"uploadId":"<upload>"`), "layerDigests", "Member must not be null"),
		at(end, "a digest that is none", in(`"uploadId":"<upload>","layerDigests":["<image>","x"]`), "layerDigests", digest),
		at(get, "no digest", in(`"x":0`), "layerDigest", "must not be null"),
		at(get, "a digest that is none", in(`"layerDigest":"x"`), "layerDigest", "must satisfy regular expression '"+digestPattern+"'"),
		{get, "a layer that is not there", in(`"layerDigest":"sha256:00ff"`), "LayersNotFoundException", "The layer with digest 'sha256:00ff' does not exist within the repository with name '<repo>' in the registry with id '<acct>'"},
		{get, "a layer that no image needs", in(`"layerDigest":"<loose layer>"`), "LayerInaccessibleException", "The layer with digest '<loose layer>' in the repository with name '<repo>' in the registry with id '<acct>' is not referenced by an image and cannot be downloaded"},
	}
}

func badImages() []badCase {
	var cases []badCase
	for _, op := range []string{"BatchGetImage", "BatchDeleteImage"} {
		cases = append(cases,
			at(op, "no images", `{"repositoryName":"<repo>"}`, "imageIds", "Member must not be null"),
			at(op, "an empty list", `{"repositoryName":"<repo>","imageIds":[]}`, "imageIds", "Member must have length greater than or equal to 1"),
			at(op, "101 images", `{"repositoryName":"<repo>","imageIds":[«100 {},»{}]}`, "imageIds", "Member must have length less than or equal to 100"),
			at(op, "a tag of no length", `{"repositoryName":"<repo>","imageIds":[{"imageTag":""}]}`, "imageIds.1.member.imageTag", "Member must have length greater than or equal to 1"),
			at(op, "a tag of 301 characters", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"v1"},{"imageTag":"«301 t»"}]}`, "imageIds.2.member.imageTag", "Member must have length less than or equal to 300"))
	}
	const describe = "DescribeImages"
	const missing = "does not exist within the repository with name '<repo>' in the registry with id '<acct>'"
	return append(cases,
		at("BatchGetImage", "an empty list of media types", `{"repositoryName":"<repo>","imageIds":[{}],"acceptedMediaTypes":[]}`, "acceptedMediaTypes", "Member must have length greater than or equal to 1"),
		badCase{describe, "a tag that is not there", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"v1"},{"imageTag":"v2"}]}`, "ImageNotFoundException", "The image with imageId {imageDigest:'null', imageTag:'v2'} " + missing},
		badCase{describe, "a digest that is not there", `{"repositoryName":"<repo>","imageIds":[{"imageDigest":"sha256:00ff"}]}`, "ImageNotFoundException", "The image with imageId {imageDigest:'sha256:00ff', imageTag:'null'} " + missing},
		badCase{describe, "neither tag nor digest", `{"repositoryName":"<repo>","imageIds":[{}]}`, invalidParameter, noIDReason},
		badCase{describe, "a digest that is none", `{"repositoryName":"<repo>","imageIds":[{"imageDigest":"x"}]}`, invalidParameter, badDigest},
		badCase{describe, "a tag that is none", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"a/b"}]}`, invalidParameter, badTag},
	)
}

func badManifests() []badCase {
	const op = "PutImage"
	put := func(manifest, more string) string {
		return `{"repositoryName":"<repo>","imageManifest":"` + manifest + `"` + more + `}`
	}
	const tagForm = "must satisfy regular expression '[a-zA-Z0-9-_.]+'"
	index := func(of string) string {
		return put(`{\"schemaVersion\":2,\"mediaType\":\"`+typeIndex+`\",\"manifests\":[{\"mediaType\":\"`+typeImage+`\",\"digest\":\"`+of+`\",\"size\":1}]}`, "")
	}
	image := func(layers string) string {
		return put(`{\"schemaVersion\":2,\"mediaType\":\"`+typeImage+`\",\"config\":{\"mediaType\":\"`+typeConfig+`\",\"digest\":\"<loose layer>\",\"size\":10},\"layers\":[`+layers+`]}`, "")
	}
	const layer = `{\"mediaType\":\"` + typeLayer + `\",\"digest\":\"<absent>\",\"size\":1}`
	return []badCase{
		at(op, "no manifest", `{"repositoryName":"<repo>"}`, "imageManifest", "Member must not be null"),
		at(op, "a manifest of no length", put("", ""), "imageManifest", "Member must have length greater than or equal to 1"),
		at(op, "more than 4 MiB", put("«4194305 x»", ""), "imageManifest", "Member must have length less than or equal to 4194304"),
		at(op, "not JSON", put("x", ""), "ImageManifest", "Invalid JSON syntax"),
		at(op, "JSON that is no object", put("[]", ""), "ImageManifest", "Invalid JSON syntax"),
		at(op, "an object and more", put("<manifest>{}", ""), "ImageManifest", "Invalid JSON syntax"),
		{op, "no media type anywhere", put(`{\"schemaVersion\":2}`, ""), invalidParameter, "image manifest mediatype not provided in manifest or parameter"},
		at(op, "a media type of no manifest", put(`{\"schemaVersion\":2}`, `,"imageManifestMediaType":"text/plain"`), "ImageManifestMediaType",
			`the media type "text/plain" is not supported; a manifest is one of `+strings.Join([]string{typeImage, typeIndex, typeDockerImage, typeDockerList, typeDockerV1[:len(typeDockerV1)-4] + "prettyjws", typeDockerV1}, ", ")),
		at(op, "two media types", put("<manifest>", `,"imageManifestMediaType":"`+typeIndex+`"`), "ImageManifest", `the manifest says that its media type is "`+typeImage+`", and it was sent as "`+typeIndex+`"`),
		at(op, "4097 layers", image(`«4096 `+layer+`,»`+layer), "ImageManifest", "Limit on number of layers per image exceeded"),
		{op, "a layer that is not there", image(layer), "LayersNotFoundException", "Layers with digests '[<absent>]' required for pushing image into repository with name '<repo>' in the registry with id '<acct>' do not exist"},
		{op, "an index of images that are not there", index("<absent>"), "ReferencedImagesNotFoundException", "Images with digests '[<absent>]' required for pushing image into repository with name '<repo>' in the registry with id '<acct>' do not exist"},
		{op, "the digest of another manifest", put("<manifest>", `,"imageDigest":"<absent>"`), "ImageDigestDoesNotMatchException", "The image digest '<absent>' does not match the calculated digest '<image>'"},
		at(op, "a digest that is none", put("<manifest>", `,"imageDigest":"x"`), "imageDigest", "The digest algorithm is not supported; use sha256 or sha512"),
		at(op, "a tag of no length", put("<manifest>", `,"imageTag":""`), "imageTag", "Member must have length greater than or equal to 1"),
		at(op, "a tag of 301 characters", put("<manifest>", `,"imageTag":"«301 t»"`), "imageTag", "Member must have length less than or equal to 300"),
		at(op, "a tag with a slash", put("<manifest>", `,"imageTag":"a/b"`), "imageTag", tagForm),
		at(op, "a tag with a space", put("<manifest>", `,"imageTag":"a b"`), "imageTag", tagForm),
		at(op, "a tag of another alphabet", put("<manifest>", `,"imageTag":"größe"`), "imageTag", tagForm),
		{op, "the same again", put("<manifest>", `,"imageTag":"v1"`), "ImageAlreadyExistsException", "Image with digest '<image>' and tag 'v1' already exists in the repository with name '<repo>' in registry with id '<acct>'"},
		{op, "the same again, without a tag", put("<manifest>", ""), "ImageAlreadyExistsException", "Image with digest '<image>' and tag 'null' already exists in the repository with name '<repo>' in registry with id '<acct>'"},
	}
}

func badListings() []badCase {
	var cases []badCase
	for _, l := range []struct {
		op, members string
		most        int
	}{
		{"DescribeRepositories", `"x":0`, 1000}, {"ListImages", `"repositoryName":"<repo>"`, 1000}, {"DescribeImages", `"repositoryName":"<repo>"`, 1000},
		{"ListImageReferrers", `"repositoryName":"<repo>","subjectId":{"imageDigest":"<image>"}`, 50},
		{"DescribeRepositoryCreationTemplates", `"prefixes":["<repo>"]`, 1000}, {"ListPullTimeUpdateExclusions", `"x":0`, 1000}, {"DescribePullThroughCacheRules", `"x":0`, 1000},
	} {
		cases = append(cases,
			at(l.op, "a page of nothing", `{`+l.members+`,"maxResults":0}`, "maxResults", "Member must have value greater than or equal to 1"),
			at(l.op, "a page that is too long", fmt.Sprintf(`{%s,"maxResults":%d}`, l.members, l.most+1), "maxResults", "Member must have value less than or equal to "+strconv.Itoa(l.most)),
			at(l.op, "a page token that is none", `{`+l.members+`,"nextToken":"x"}`, "nextToken", badToken))
	}
	for _, op := range []string{"ListImages", "DescribeImages"} {
		cases = append(cases,
			at(op, "an unknown tag status", `{"repositoryName":"<repo>","filter":{"tagStatus":"SOME"}}`, "filter.tagStatus", "Member must satisfy enum value set: [TAGGED, UNTAGGED, ANY]"),
			at(op, "an unknown image status", `{"repositoryName":"<repo>","filter":{"imageStatus":"OLD"}}`, "filter.imageStatus", "Member must satisfy enum value set: [ACTIVE, ARCHIVED, ACTIVATING, ANY]"))
	}
	const referrers, describe = "ListImageReferrers", "DescribeImages"
	of := func(subject, more string) string {
		return `{"repositoryName":"<repo>","subjectId":{` + subject + `}` + more + `}`
	}
	return append(cases,
		at("DescribeRepositories", "names and a page", `{"repositoryNames":["<repo>"],"maxResults":5}`, "repositoryNames", "nextToken and maxResults cannot be used together with repositoryNames"),
		at("DescribeRepositories", "an empty list of names", `{"repositoryNames":[]}`, "repositoryNames", "Member must have length greater than or equal to 1"),
		at(describe, "images and a page", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"v1"}],"maxResults":5}`, "imageIds", "nextToken and maxResults cannot be used together with imageIds"),
		at(describe, "images and a page token", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"v1"}],"nextToken":"x"}`, "imageIds", "nextToken and maxResults cannot be used together with imageIds"),
		at(describe, "an empty list of images", `{"repositoryName":"<repo>","imageIds":[]}`, "imageIds", "Member must have length greater than or equal to 1"),
		at(referrers, "no subject", `{"repositoryName":"<repo>"}`, "subjectId", "Member must not be null"),
		at(referrers, "a subject without a digest", of("", ""), "subjectId.imageDigest", "Member must not be null"),
		at(referrers, "a digest that is none", of(`"imageDigest":"x"`, ""), "subjectId.imageDigest", "must satisfy regular expression '"+digestPattern+"'"),
		at(referrers, "six artifact types", of(`"imageDigest":"<image>"`, `,"filter":{"artifactTypes":["1","2","3","4","5","6"]}`), "filter.artifactTypes", "Member must have length less than or equal to 5"),
		at(referrers, "an artifact type of no length", of(`"imageDigest":"<image>"`, `,"filter":{"artifactTypes":[""]}`), "filter.artifactTypes", "Member must satisfy constraint: [Member must have length greater than or equal to 1]"),
		at(referrers, "an unknown status", of(`"imageDigest":"<image>"`, `,"filter":{"artifactStatus":"OLD"}`), "filter.artifactStatus", "Member must satisfy enum value set: [ACTIVE, ARCHIVED, ACTIVATING, ANY]"),
	)
}

func badRegistryIDs() []badCase {
	const op = "GetAuthorizationToken"
	const pattern = "Member must satisfy constraint: [Member must satisfy regular expression pattern: [0-9]{12}]"
	return []badCase{
		at(op, "an empty list of registries", `{"registryIds":[]}`, "registryIds", "Member must have length greater than or equal to 1"),
		at(op, "eleven registries", `{"registryIds":[«10 "<acct>",»"<acct>"]}`, "registryIds", "Member must have length less than or equal to 10"),
		at(op, "a registry id that is none", `{"registryIds":["<acct>","12345"]}`, "registryIds", pattern),
		at("DescribeRepositories", "a registry id that is none", `{"registryId":"x"}`, "registryId", "must satisfy regular expression '[0-9]{12}'"),
		{"DescribeRepositories", "another account's registry", `{"registryId":"111122223333"}`, "AccessDeniedException",
			"User: <caller> is not authorized to perform: ecr:DescribeRepositories on resource: arn:aws:ecr:<region>:111122223333:repository/* because no resource-based policy allows the ecr:DescribeRepositories action"},
		{"ListImages", "a repository that is not there", `{"repositoryName":"<none>"}`, "RepositoryNotFoundException", "The repository with name '<none>' does not exist in the registry with id '<acct>'"},
		{"DeleteRepository", "a repository with images", `{"repositoryName":"<repo>"}`, "RepositoryNotEmptyException", "The repository with name '<repo>' in registry with id '<acct>' cannot be deleted because it still contains images"},
	}
}

// repeated is «300 x».
var repeated = regexp.MustCompile(`«(\d+) (.+?)»`)

// fill makes what the rows need, and returns what puts it into their texts.
func (s *suite) fill(t *testing.T) func(string) string {
	t.Helper()
	repo, other := s.repo(t, "bad"), s.repo(t, "bad")
	image := s.kit(t, repo).image(t)
	digest := s.put(t, repo, "v1", image)
	quoted, err := json.Marshal(image)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer(
		"<repo>", repo, "<none>", unique("none"), "<acct>", s.Account, "<region>", s.Region, "<arn>", s.arn(s.Account, repo), "<caller>", s.me,
		"<image>", digest, "<manifest>", string(quoted[1:len(quoted)-1]), "<loose layer>", s.layer(t, repo, randomBytes(10)), "<absent>", someDigest(),
		"<upload>", s.begin(t, repo), "<foreign upload>", s.begin(t, other), "<name pattern>", s.namePattern())
	return func(text string) string {
		text = repeated.ReplaceAllStringFunc(text, func(m string) string {
			parts := repeated.FindStringSubmatch(m)
			n, err := strconv.Atoi(parts[1])
			if err != nil {
				t.Fatal(err)
			}
			return strings.Repeat(parts[2], n)
		})
		return names.Replace(text)
	}
}

func (s *suite) badInput(t *testing.T) { s.refuseAll(t, badCases()) }

// refuseAll checks the rows of a table.
func (s *suite) refuseAll(t *testing.T, cases []badCase) {
	fill := s.fill(t)
	for _, c := range cases {
		t.Run(c.op+"/"+c.what, func(t *testing.T) {
			a := s.do(t, call{op: c.op, in: fill(c.input)})
			if c.exception == "InvalidLayerPartException" {
				// Its members are checked elsewhere.
				any := leaf(func(any) string { return "" })
				s.refusal(t, c.what, a, c.exception, fill(c.message), object{"registryId": any, "repositoryName": any, "uploadId": any, "lastValidByteReceived": any})
				return
			}
			s.refusal(t, c.what, a, c.exception, fill(c.message))
		})
	}
}

// parameterForm is the message about a parameter.
var parameterForm = regexp.MustCompile(`(?s)^Invalid parameter at '([^']*)' failed to satisfy constraint: '(.*)'$`)

// Table is the list of bad input with its answers, as README.md has it: where a
// message is about a parameter, only the parameter and the constraint.
func Table() string { return tableOf(badCases()) }

// PublicTable is the same of ECR Public.
func PublicTable() string { return tableOf(publicBadCases()) }

func tableOf(cases []badCase) string {
	var b strings.Builder
	b.WriteString("| operation | what | exception | message |\n|---|---|---|---|\n")
	for _, c := range cases {
		message := "`" + c.message + "`"
		if m := parameterForm.FindStringSubmatch(c.message); m != nil {
			message = "at `" + m[1] + "`: `" + m[2] + "`"
		}
		b.WriteString("| " + c.op + " | " + c.what + " | " + strings.TrimSuffix(c.exception, "Exception") + " | " + strings.ReplaceAll(message, "|", `\|`) + " |\n")
	}
	return b.String()
}
