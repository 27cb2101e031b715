package audit

import (
	"fmt"
	"strings"
	"testing"
)

// The samples are those of the ECR user guide ("Example: ..." of "Logging Amazon ECR actions
// with AWS CloudTrail") and of the ECR Public user guide's page of that name, with this
// deployment's names in them.

// newer are members that records have since the guides were written.
var newer = []string{".readOnly", ".managementEvent", ".eventCategory", ".userIdentity.invokedBy", ".additionalEventData", ".responseElements.image.imageManifestMediaType", ".requestParameters.imageManifestMediaType", ".requestParameters.imageDigest"}

func (o *office) fill(sample string) string {
	return strings.NewReplacer(
		"ACCOUNT", account, "REGION", region, "V1", o.v1, "HOST", o.Host, "ALIAS", o.alias, "PUBLIC", o.PublicHost,
		"MARYKEY", o.mary.id, "BOBKEY", o.bob.id, "ROLEKEY", o.role.id,
	).Replace(sample)
}

// find is the newest record that fits.
func (o *office) find(t *testing.T, event string, fits func(record) bool) string {
	t.Helper()
	for _, r := range all(t, o.Server, "EventName="+event) {
		if fits(r) {
			return r.whole
		}
	}
	t.Fatalf("there is no such record of %s", event)
	return ""
}

func in(repo, user string) func(record) bool {
	return func(r record) bool {
		return r.RequestParameters.RepositoryName == repo && r.ErrorCode == "" && (user == "" || r.UserIdentity.UserName == user)
	}
}

const tail = `"requestID":"*","eventID":"*","resources":[{"ARN":"arn:aws:ecr:REGION:ACCOUNT:repository/testrepo","accountId":"ACCOUNT"}],"eventType":"AwsApiCall","recipientAccountId":"ACCOUNT"}`

func (o *office) records(t *testing.T) {
	check(t, "CreateRepository", o.fill(`{"eventVersion":"/1\\.\\d\\d/","userIdentity":{"type":"AssumedRole","principalId":"/AROA[A-Z0-9]+:Mary_Major/","arn":"arn:aws:sts::ACCOUNT:assumed-role/Admin/Mary_Major",
		"accountId":"ACCOUNT","accessKeyId":"ROLEKEY","sessionContext":{"attributes":{"mfaAuthenticated":"false","creationDate":"/\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ/"},
		"sessionIssuer":{"type":"Role","principalId":"/AROA[A-Z0-9]+/","arn":"arn:aws:iam::ACCOUNT:role/Admin","accountId":"ACCOUNT","userName":"Admin"}}},
		"eventTime":"/\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ/","eventSource":"ecr.amazonaws.com","eventName":"CreateRepository","awsRegion":"REGION","sourceIPAddress":"127.0.0.1","userAgent":"/aws-sdk-go-v2.*/",
		"requestParameters":{"repositoryName":"testrepo"},
		"responseElements":{"repository":{"repositoryArn":"arn:aws:ecr:REGION:ACCOUNT:repository/testrepo","repositoryName":"testrepo","repositoryUri":"HOST/testrepo",
		"createdAt":"/[A-Z][a-z]{2} \\d{1,2}, \\d{4} \\d{1,2}:\\d\\d:\\d\\d [AP]M/","registryId":"ACCOUNT"}},`+tail),
		o.find(t, "CreateRepository", in("testrepo", "")),
		append(newer, ".responseElements.repository.imageTagMutability", ".responseElements.repository.imageScanningConfiguration", ".responseElements.repository.encryptionConfiguration")...)

	proxied := `"eventSource":"ecr.amazonaws.com","eventName":"%s","awsRegion":"REGION","sourceIPAddress":"ecr.amazonaws.com","userAgent":"ecr.amazonaws.com",`
	person := func(name, key string) string {
		return `{"eventVersion":"/1\\.\\d\\d/","userIdentity":{"type":"IAMUser","principalId":"/AIDA[A-Z0-9]+/","arn":"arn:aws:iam::ACCOUNT:user/` + name + `","accountId":"ACCOUNT","accessKeyId":"` + key + `","userName":"` + name + `"},"eventTime":"*",`
	}
	check(t, "a docker pull", o.fill(person("bob", "BOBKEY")+fmt.Sprintf(proxied, "BatchGetImage")+
		`"requestParameters":{"imageIds":[{"imageTag":"prod"}],"repositoryName":"testrepo","registryId":"ACCOUNT"},"responseElements":null,`+tail),
		o.find(t, "BatchGetImage", func(r record) bool {
			return in("testrepo", "bob")(r) && len(r.RequestParameters.ImageIds) == 1 && r.RequestParameters.ImageIds[0].ImageTag == "prod"
		}), append(newer, ".requestParameters.acceptedMediaTypes")...)
	pull := o.find(t, "BatchGetImage", in("testrepo", "bob"))
	if !strings.Contains(pull, `"acceptedMediaTypes":["`) || !strings.Contains(pull, "application/vnd.docker.distribution.manifest.v2+json") {
		t.Errorf("docker's pull does not say what it accepts: %s", pull)
	}
	check(t, "a layer of it", o.fill(person("bob", "BOBKEY")+fmt.Sprintf(proxied, "GetDownloadUrlForLayer")+
		`"requestParameters":{"repositoryName":"testrepo","registryId":"ACCOUNT","layerDigest":"/sha256:[0-9a-f]{64}/"},"responseElements":null,`+tail),
		o.find(t, "GetDownloadUrlForLayer", in("testrepo", "bob")), newer...)
	check(t, "a docker push", o.fill(person("mary", "MARYKEY")+fmt.Sprintf(proxied, "PutImage")+
		`"requestParameters":{"repositoryName":"testrepo","imageTag":"prod","registryId":"ACCOUNT","imageManifest":"/(?s)\\{.*\"schemaVersion\": ?2.*\\}/"},
		"responseElements":{"image":{"repositoryName":"testrepo","imageManifest":"/(?s)\\{.*\\}/","registryId":"ACCOUNT","imageId":{"imageDigest":"V1","imageTag":"prod"}}},`+tail),
		o.find(t, "PutImage", func(r record) bool {
			return in("testrepo", "mary")(r) && r.UserIdentity.InvokedBy != ""
		}), newer...)
	for _, event := range []string{"InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"} {
		check(t, event, o.fill(person("mary", "MARYKEY")+fmt.Sprintf(proxied, event)+`"requestParameters":{"repositoryName":"testrepo","registryId":"ACCOUNT"},`+tail),
			o.find(t, event, in("testrepo", "mary")), append(newer, ".responseElements", ".requestParameters.uploadId", ".requestParameters.layerDigests",
				".requestParameters.partFirstByte", ".requestParameters.partLastByte")...)
	}
	check(t, "referrers", o.fill(`{"eventVersion":"/1\\.\\d\\d/","userIdentity":{"type":"Root","principalId":"ACCOUNT","arn":"arn:aws:iam::ACCOUNT:root","accountId":"ACCOUNT","accessKeyId":"*"},"eventTime":"*",`+
		fmt.Sprintf(proxied, "ListImageReferrers")+`"requestParameters":{"repositoryName":"testrepo","registryId":"ACCOUNT","subjectId":{"imageDigest":"V1"}},"responseElements":null,"readOnly":true,`+tail),
		o.find(t, "ListImageReferrers", in("testrepo", "")), newer...)
	for to, status := range map[string]string{"ARCHIVE": "ARCHIVED", "STANDARD": "ACTIVATING"} {
		check(t, "to "+to, o.fill(`{"eventVersion":"1.11","userIdentity":{"type":"Root","principalId":"ACCOUNT","arn":"arn:aws:iam::ACCOUNT:root","accountId":"ACCOUNT","accessKeyId":"*"},"eventTime":"*",
			"eventSource":"ecr.amazonaws.com","eventName":"UpdateImageStorageClass","awsRegion":"REGION","sourceIPAddress":"127.0.0.1","userAgent":"*",
			"requestParameters":{"repositoryName":"cold","imageId":{"imageDigest":"*"},"targetStorageClass":"`+to+`"},
			"responseElements":{"image":{"registryId":"ACCOUNT","repositoryName":"cold","imageId":{"imageDigest":"*"},"imageStatus":"`+status+`"}},
			"requestID":"*","eventID":"*","readOnly":false,"resources":[{"ARN":"arn:aws:ecr:REGION:ACCOUNT:repository/cold","accountId":"ACCOUNT"}],
			"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"ACCOUNT","eventCategory":"Management"}`),
			o.find(t, "UpdateImageStorageClass", func(r record) bool { return strings.Contains(r.whole, `"`+to+`"`) }))
	}
}

func (o *office) serviceRecords(t *testing.T) {
	head := `{"eventVersion":"/1\\.\\d\\d/","userIdentity":{"accountId":"ACCOUNT","invokedBy":"AWS Internal"},"eventTime":"*","eventSource":"ecr.amazonaws.com","eventName":"%s","awsRegion":"REGION",
		"sourceIPAddress":"AWS Internal","userAgent":"AWS Internal","requestParameters":null,"responseElements":null,"eventID":"*","readOnly":%s,
		"resources":[{"ARN":"arn:aws:ecr:REGION:ACCOUNT:repository/%s","accountId":"ACCOUNT","type":"AWS::ECR::Repository"}],"eventType":"AwsServiceEvent","recipientAccountId":"ACCOUNT","serviceEventDetails":%s}`
	rules := `{"rulePriority":1,"description":"remove all images > 2","lifecycleEventSelection":{"tagStatus":"Any","tagPrefixList":[],"countType":"Image count more than","countNumber":2},"action":"expire"}`
	for event, readOnly := range map[string]string{"PolicyExecutionEvent": "true", "DryRunEvent": "true"} {
		r := o.find(t, event, func(r record) bool {
			// The run that could not take the child of an index, not the one after it, which could.
			return r.ServiceEventDetails.RepositoryName == "life" && (event == "DryRunEvent" || strings.Contains(r.whole, `"failureCode":"ImageReferencedByManifestList"`))
		})
		check(t, event, o.fill(fmt.Sprintf(head, event, readOnly, "life", `{"repositoryName":"life",
			"lifecycleEventPolicy":{"lifecycleEventRules":[`+rules+`]}}`)), r, ".managementEvent", ".eventCategory",
			".serviceEventDetails.lifecycleEventPolicy.lastEvaluatedAt", ".serviceEventDetails.lifecycleEventPolicy.policyVersion", ".serviceEventDetails.lifecycleEventPolicy.policyId",
			".serviceEventDetails.lifecycleEventImageActions", ".serviceEventDetails.lifecycleEventFailureDetails")
		d := decode[struct {
			ServiceEventDetails struct {
				LifecycleEventPolicy         map[string]any
				LifecycleEventImageActions   []map[string]any
				LifecycleEventFailureDetails []map[string]any
			}
		}](t, r).ServiceEventDetails
		for _, member := range []string{"lastEvaluatedAt", "policyVersion", "policyId"} {
			if _, ok := d.LifecycleEventPolicy[member]; !ok {
				t.Errorf("%s: the policy has no %s: %v", event, member, d.LifecycleEventPolicy)
			}
		}
		if len(d.LifecycleEventImageActions) == 0 {
			t.Errorf("%s names no image: %s", event, r)
		}
		for _, list := range [][]map[string]any{d.LifecycleEventImageActions, d.LifecycleEventFailureDetails} {
			for _, one := range list {
				image, _ := one["lifecycleEventImage"].(map[string]any)
				status, pushed := image["tagStatus"], image["pushedAt"]
				if ms, ok := pushed.(float64); !ok || ms < 1e12 || status != "Tagged" && status != "Untagged" || image["digest"] == "" || one["rulePriority"] != 1.0 {
					t.Errorf("%s: %v", event, one)
				}
				if code, ok := one["failureCode"]; ok && code != "ImageReferencedByManifestList" {
					t.Errorf("%s: %v", event, one)
				}
			}
		}
		t.Logf("%s: %d actions, %d failures", event, len(d.LifecycleEventImageActions), len(d.LifecycleEventFailureDetails))
	}
	check(t, "ImageActivationEvent", o.fill(fmt.Sprintf(head, "ImageActivationEvent", "false", "cold",
		`{"repositoryName":"cold","imageDigest":"/sha256:[0-9a-f]{64}/","targetStorageClass":"STANDARD","result":"SUCCESS","imageStatus":"ACTIVE"}`)),
		o.find(t, "ImageActivationEvent", func(record) bool { return true }), ".managementEvent", ".eventCategory")
}

// publicRecords are those of ECR Public, in us-east-1, which this deployment does not serve.
func (o *office) publicRecords(t *testing.T) {
	const arn = "arn:aws:ecr-public::" + account + ":repository/ecr-tutorial"
	head := `{"eventVersion":"/1\\.\\d\\d/","userIdentity":{"type":"IAMUser","principalId":"/AIDA[A-Z0-9]+/","arn":"arn:aws:iam::ACCOUNT:user/mary","accountId":"ACCOUNT","accessKeyId":"MARYKEY","userName":"mary"},
		"eventTime":"*","eventSource":"ecr-public.amazonaws.com","awsRegion":"us-east-1",`
	rest := `"requestID":"*","eventID":"*","readOnly":false,"resources":[{"accountId":"ACCOUNT","ARN":"` + arn + `"}],"eventType":"AwsApiCall","managementEvent":true,"eventCategory":"Management","recipientAccountId":"ACCOUNT"}`
	there := []string{".userIdentity.invokedBy", ".additionalEventData", ".requestParameters.imageManifestMediaType", ".requestParameters.imageDigest", ".responseElements.image.imageManifestMediaType"}
	check(t, "public CreateRepository", o.fill(head+`"eventName":"CreateRepository","sourceIPAddress":"127.0.0.1","userAgent":"/.*aws-cli.*/","requestParameters":{"repositoryName":"ecr-tutorial"},
		"responseElements":{"repository":{"repositoryArn":"`+arn+`","registryId":"ACCOUNT","repositoryName":"ecr-tutorial","repositoryUri":"PUBLIC/ALIAS/ecr-tutorial",
		"createdAt":"/[A-Z][a-z]{2} \\d{1,2}, \\d{4}, \\d{1,2}:\\d\\d:\\d\\d [AP]M/"},"catalogData":{}},`+rest),
		o.find(t, "CreateRepository", in("ecr-tutorial", "mary")))
	check(t, "a push to a public registry", o.fill(head+`"eventName":"PutImage","sourceIPAddress":"*","userAgent":"*",
		"requestParameters":{"repositoryName":"ecr-tutorial","imageTag":"latest","registryId":"ACCOUNT","imageManifest":"/(?s)\\{.*\\}/"},
		"responseElements":{"image":{"repositoryName":"ecr-tutorial","imageManifest":"/(?s)\\{.*\\}/","registryId":"ACCOUNT","imageId":{"imageDigest":"/sha256:[0-9a-f]{64}/","imageTag":"latest"}}},`+rest),
		o.find(t, "PutImage", in("ecr-tutorial", "mary")), there...)

	b := o.shell(t, root(o.Server))
	names := map[string]bool{}
	for _, e := range b.lookup(t, append(by("EventSource", "ecr-public.amazonaws.com"), "--region", "us-east-1")...) {
		names[e.EventName] = true
	}
	for _, want := range []string{"CreateRepository", "GetAuthorizationToken", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage"} {
		if !names[want] {
			t.Errorf("us-east-1 does not show %s but %v", want, names)
		}
	}
	if found := b.lookup(t, by("EventSource", "ecr-public.amazonaws.com")...); len(found) != 0 {
		t.Errorf("%s shows %d calls of ECR Public", region, len(found))
	}
}

func (o *office) failedCalls(t *testing.T) {
	for _, c := range []struct{ event, user, code, message string }{
		{"DeleteRepository", "bob", "AccessDenied", "is not authorized to perform: ecr:DeleteRepository"},
		{"CreateRepository", "mary", "RepositoryAlreadyExistsException", "The repository with name 'testrepo' already exists"},
		{"DescribeImageReplicationStatus", "mary", "RepositoryNotFoundException", "The repository with name 'none' does not exist"},
		// Calls of registry clients have the code that the client was given.
		{"InitiateLayerUpload", "bob", "DENIED", "is not authorized to perform: ecr:InitiateLayerUpload"},
	} {
		r := decode[map[string]any](t, o.find(t, c.event, func(r record) bool { return r.ErrorCode != "" && r.UserIdentity.UserName == c.user }))
		code, _ := r["errorCode"].(string)
		message, _ := r["errorMessage"].(string)
		elements, there := r["responseElements"]
		if !strings.HasPrefix(code, c.code) || !strings.Contains(message, c.message) || !there || elements != nil || r["requestParameters"] == nil {
			t.Errorf("%s: %q %q, %v", c.event, code, message, r)
		}
	}
}
