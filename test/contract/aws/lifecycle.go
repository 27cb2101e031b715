package aws

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// rule is a rule of a lifecycle policy as clients write it, with white space.
func rule(priority int, selection, action string) string {
	return fmt.Sprintf(`{ "rulePriority": %d, "selection": { %s }, "action": { %s } }`, priority, selection, action)
}

const (
	expire      = `"type": "expire"`
	untaggedOld = `"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14`
	newestThree = `"tagStatus": "tagged", "tagPrefixList": ["v"], "countType": "imageCountMoreThan", "countNumber": 3`
)

// lifecyclePolicy is a policy of the rules, and how it is stored.
func lifecyclePolicy(rules ...string) (text, stored string) {
	text = "{\n  \"rules\": [ " + strings.Join(rules, ", ") + " ]\n}"
	return text, strings.Join(strings.Fields(text), "")
}

// lifecyclePolicies are stored without white space, replaced as a whole and gone
// when they are deleted.
func (s *suite) lifecyclePolicies(t *testing.T) {
	repo := s.repo(t, "policy")
	in := object{"repositoryName": repo}
	none := fmt.Sprintf("Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", repo, s.Account)
	for _, op := range []string{"GetLifecyclePolicy", "DeleteLifecyclePolicy", "StartLifecyclePolicyPreview"} {
		s.refused(t, op, in, "LifecyclePolicyNotFoundException", none)
	}
	s.refused(t, "GetLifecyclePolicyPreview", in, "LifecyclePolicyPreviewNotFoundException",
		fmt.Sprintf("There is no dry run for the repository with name '%s' in the registry with id '%s'", repo, s.Account))
	var last string
	for _, rules := range [][]string{{rule(1, untaggedOld, expire)}, {rule(5, newestThree, expire), rule(7, untaggedOld, expire)}} {
		text, stored := lifecyclePolicy(rules...)
		s.want(t, "PutLifecyclePolicy", object{"repositoryName": repo, "lifecyclePolicyText": text}, object{"registryId": s.Account, "repositoryName": repo, "lifecyclePolicyText": stored})
		s.want(t, "GetLifecyclePolicy", object{"repositoryName": repo, "registryId": s.Account}, object{"registryId": s.Account, "repositoryName": repo, "lifecyclePolicyText": stored, "lastEvaluatedAt": json.Number("0.000")})
		last = stored
	}
	s.want(t, "DeleteLifecyclePolicy", in, object{"registryId": s.Account, "repositoryName": repo, "lifecyclePolicyText": last, "lastEvaluatedAt": json.Number("0.000")})
	s.refused(t, "DeleteLifecyclePolicy", in, "LifecyclePolicyNotFoundException", none)
	missing := unique("missing")
	for _, op := range []string{"PutLifecyclePolicy", "GetLifecyclePolicy", "DeleteLifecyclePolicy", "StartLifecyclePolicyPreview", "GetLifecyclePolicyPreview"} {
		in := object{"repositoryName": missing}
		if op == "PutLifecyclePolicy" {
			in["lifecyclePolicyText"], _ = lifecyclePolicy(rule(1, untaggedOld, expire))
		}
		s.refused(t, op, in, "RepositoryNotFoundException", s.noRepository(missing))
	}
}

// lifecyclePreview shows what a policy would do, page by page, and does nothing.
func (s *suite) lifecyclePreview(t *testing.T) {
	repo := s.repo(t, "preview")
	k := s.kit(t, repo)
	var digests []string
	for n := range 5 {
		digests = append(digests, s.put(t, repo, fmt.Sprintf("v%d", n), k.image(t)))
	}
	s.put(t, repo, "other", k.image(t))
	text, _ := lifecyclePolicy(rule(3, newestThree, expire))
	start := object{"registryId": s.Account, "repositoryName": repo, "lifecyclePolicyText": text}
	s.want(t, "StartLifecyclePolicyPreview", start, object{"registryId": s.Account, "repositoryName": repo, "lifecyclePolicyText": text, "status": "IN_PROGRESS"})
	in := object{"repositoryName": repo}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if got := s.succeed(t, "GetLifecyclePolicyPreview", in); got["status"] == "COMPLETE" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the preview does not end: %v", got)
		}
	}
	result := func(n int) object {
		return object{
			"imageDigest": digests[n], "imageTags": array{fmt.Sprintf("v%d", n)}, "imagePushedAt": between(time.Now().Add(-24*time.Hour), 24*time.Hour),
			"appliedRulePriority": 3, "action": object{"type": "EXPIRE"}, "storageClass": "STANDARD",
		}
	}
	answer := func(results array) object {
		return object{
			"registryId": s.Account, "repositoryName": repo, "lifecyclePolicyText": text, "status": "COMPLETE",
			"previewResults": results, "summary": object{"expiringImageTotalCount": 2},
		}
	}
	s.want(t, "GetLifecyclePolicyPreview", in, answer(array{result(0), result(1)}))
	with := func(more object) object {
		out := object{"repositoryName": repo}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	s.want(t, "GetLifecyclePolicyPreview", with(object{"filter": object{"tagStatus": "TAGGED"}}), answer(array{result(0), result(1)}))
	s.want(t, "GetLifecyclePolicyPreview", with(object{"filter": object{"tagStatus": "UNTAGGED"}}), answer(array{}))
	s.want(t, "GetLifecyclePolicyPreview", with(object{"imageIds": array{imageID(digests[1], ""), imageID("", "v4"), imageID(someDigest(), "")}}), answer(array{result(1)}))
	first := s.succeed(t, "GetLifecyclePolicyPreview", with(object{"maxResults": 1}))
	same(t, "the first page", array{result(0)}, first["previewResults"])
	s.want(t, "GetLifecyclePolicyPreview", with(object{"maxResults": 1, "nextToken": first["nextToken"]}), answer(array{result(1)}))
	s.refused(t, "GetLifecyclePolicyPreview", with(object{"nextToken": first["nextToken"], "filter": object{"tagStatus": "TAGGED"}}), invalidParameter,
		parameterText("nextToken", "Invalid pagination token provided"))
	if n := len(s.succeed(t, "ListImages", in)["imageIds"].([]any)); n != 6 {
		t.Errorf("%d images are left after a preview", n)
	}
	// The next preview takes the place of this one.
	s.succeed(t, "PutLifecyclePolicy", start)
	s.succeed(t, "StartLifecyclePolicyPreview", in)
}

// storageClasses archives an image and restores it.
func (s *suite) storageClasses(t *testing.T) {
	repo := s.repo(t, "archive")
	k := s.kit(t, repo)
	text := k.image(t)
	d := s.put(t, repo, "v1", text)
	other := s.put(t, repo, "v2", k.image(t))
	change := func(to, status string) {
		t.Helper()
		s.want(t, "UpdateImageStorageClass", object{"repositoryName": repo, "imageId": imageID(d, ""), "targetStorageClass": to},
			object{"registryId": s.Account, "repositoryName": repo, "imageId": imageID(d, ""), "imageStatus": status})
	}
	change("ARCHIVE", "ARCHIVED")
	change("ARCHIVE", "ARCHIVED") // as it is
	s.want(t, "BatchGetImage", object{"repositoryName": repo, "imageIds": array{imageID("", "v1")}}, object{"images": array{}, "failures": array{
		object{"imageId": imageID("", "v1"), "failureCode": "ImageInaccessible", "failureReason": "Requested image is archived. Restore it before you pull it"},
	}})
	filter := func(status string) object {
		return object{"repositoryName": repo, "filter": object{"imageStatus": status}}
	}
	v1, v2 := imageID(d, "v1"), imageID(other, "v2")
	for status, want := range map[string]array{"ACTIVE": {v2}, "ARCHIVED": {v1}, "ACTIVATING": {}, "ANY": {v1, v2}} {
		s.want(t, "ListImages", filter(status), object{"imageIds": anyOrder(want...)})
	}
	s.want(t, "ListImages", object{"repositoryName": repo}, object{"imageIds": array{v2}})
	detail := func() object {
		t.Helper()
		all := s.succeed(t, "DescribeImages", object{"repositoryName": repo, "imageIds": array{imageID(d, "")}})
		return all["imageDetails"].([]any)[0].(object)
	}
	got := detail()
	same(t, "the archived image", object{
		"registryId": s.Account, "repositoryName": repo, "imageDigest": d, "imageTags": array{"v1"}, "imageSizeInBytes": k.size(), "imagePushedAt": got["imagePushedAt"],
		"imageManifestMediaType": typeImage, "artifactMediaType": typeConfig, "imageStatus": "ARCHIVED", "lastArchivedAt": got["lastArchivedAt"],
	}, got)
	change("STANDARD", "ACTIVATING")
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if got = detail(); got["imageStatus"] == "ACTIVE" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the image does not come back: %v", got)
		}
	}
	if got["lastActivatedAt"] == nil || got["lastArchivedAt"] == nil {
		t.Errorf("restored: %v", got)
	}
	change("STANDARD", "ACTIVE") // as it is
	// Pushed again, it is there at once, and that is no repetition.
	change("ARCHIVE", "ARCHIVED")
	s.put(t, repo, "v1", text)
	if got = detail(); got["imageStatus"] != "ACTIVE" {
		t.Errorf("pushed again: %v", got)
	}
	s.refused(t, "PutImage", putInput(repo, "v1", text), "ImageAlreadyExistsException",
		fmt.Sprintf("Image with digest '%s' and tag 'v1' already exists in the repository with name '%s' in registry with id '%s'", d, repo, s.Account))

	// An index keeps its images active.
	index := s.put(t, repo, "index", manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{{MediaType: typeImage, Digest: d, Size: len(text)}}}.text(t))
	s.refused(t, "UpdateImageStorageClass", object{"repositoryName": repo, "imageId": imageID("", "v1"), "targetStorageClass": "ARCHIVE"},
		"ImageStorageClassUpdateNotSupportedException", "Requested image referenced by manifest list: ["+index+"]")
	s.refused(t, "UpdateImageStorageClass", object{"repositoryName": repo, "imageId": imageID("", "none"), "targetStorageClass": "ARCHIVE"}, "ImageNotFoundException",
		fmt.Sprintf("The image with imageId {imageDigest:'null', imageTag:'none'} does not exist within the repository with name '%s' in the registry with id '%s'", repo, s.Account))
}

// badLifecycle are policies that ECR refuses, with its texts (those that are known).
func badLifecycle() []badCase {
	const op = "PutLifecyclePolicy"
	policy := func(rules string) string {
		return `{"repositoryName":"<repo>","lifecyclePolicyText":"` + strings.ReplaceAll(`{"rules": [`+rules+`]}`, `"`, `\"`) + `«100  »"}`
	}
	refused := func(what, in, text string) badCase {
		return badCase{op, what, in, invalidParameter, "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: " + text}
	}
	one := func(selection, action string) string { return policy(rule(1, selection, action)) }
	return []badCase{
		at(op, "no policy", `{"repositoryName":"<repo>"}`, "lifecyclePolicyText", "Member must not be null"),
		at(op, "a policy of 99 characters", `{"repositoryName":"<repo>","lifecyclePolicyText":"«99 x»"}`, "lifecyclePolicyText", "Member must have length greater than or equal to 100"),
		at(op, "a policy of 30721 characters", `{"repositoryName":"<repo>","lifecyclePolicyText":"«30721 x»"}`, "lifecyclePolicyText", "Member must have length less than or equal to 30720"),
		refused("no JSON", `{"repositoryName":"<repo>","lifecyclePolicyText":"«100 x»"}`, "Could not map policyString into LifecyclePolicy.'"),
		refused("no rules", `{"repositoryName":"<repo>","lifecyclePolicyText":"{}«100  »"}`, `object has missing required properties (["rules"])'`),
		refused("a rule without its parts", policy(`{}`), `object has missing required properties (["action", "rulePriority", "selection"])'`),
		refused("an unknown member", policy(`{ "rulePriority": 1, "unknown": 1, "selection": { `+untaggedOld+` }, "action": { `+expire+` } }`), `object instance has properties which are not allowed by the schema: (["unknown"])'`),
		refused("an unknown tag status", one(strings.Replace(untaggedOld, "untagged", "unknown", 1), expire), `instance value (unknown) not found in enum :(possible values: ["any", "tagged", "untagged"])'`),
		refused("no images at all", one(strings.Replace(newestThree, "3", "0", 1), expire), `numeric instance is lower than the required minimum (minimum: 1, found: 0)`),
		refused("tagged images of no tags", one(`"tagStatus": "tagged", "countType": "imageCountMoreThan", "countNumber": 3`, expire), "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.'"),
		refused("two rules for untagged images", policy(rule(1, untaggedOld, expire)+","+rule(2, untaggedOld, expire)), "Only one rule can select Untagged images per storage class.'"),
		refused("Berth's own grammar without the setting", one(untaggedOld, `"type": "retain"`), `instance value (retain) not found in enum :(possible values: ["expire","transition"])'`),
		at("UpdateImageStorageClass", "no storage class", `{"repositoryName":"<repo>","imageId":{"imageTag":"v1"}}`, "targetStorageClass", "Member must not be null"),
		at("UpdateImageStorageClass", "an unknown storage class", `{"repositoryName":"<repo>","imageId":{"imageTag":"v1"},"targetStorageClass":"COLD"}`, "targetStorageClass", "Member must satisfy enum value set: [STANDARD, ARCHIVE]"),
		at("GetLifecyclePolicyPreview", "a page of images by name", `{"repositoryName":"<repo>","imageIds":[{"imageTag":"v1"}],"maxResults":1}`, "imageIds", "nextToken and maxResults cannot be used together with imageIds"),
		at("GetLifecyclePolicyPreview", "a page of 101", `{"repositoryName":"<repo>","maxResults":101}`, "maxResults", "Member must have value less than or equal to 100"),
	}
}
