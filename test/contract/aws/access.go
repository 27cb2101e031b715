package aws

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Messages of refused signatures.
const (
	textMismatch = "The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	textUnknownKey = "The security token included in the request is invalid."
	textNoToken    = "Missing Authentication Token"
)

// stamp is a time as signatures have it.
const stamp = "20060102T150405Z"

func (s *suite) signatures(t *testing.T) {
	describe := call{op: "DescribeRegistry"}
	s.succeeded(t, "right", s.do(t, describe))
	with := func(change func(*call)) answer {
		t.Helper()
		c := describe
		change(&c)
		return s.do(t, c)
	}
	s.refusal(t, "none", with(func(c *call) { c.unsigned = true }), "MissingAuthenticationTokenException", textNoToken)
	s.refusal(t, "of another secret", with(func(c *call) { c.as = Caller{s.AccessKeyID, s.SecretAccessKey + "x"} }), "InvalidSignatureException", textMismatch)
	s.refusal(t, "of an unknown key", with(func(c *call) { c.as = Caller{"AKIANOBODYNOBODYNOBO", s.SecretAccessKey} }), "UnrecognizedClientException", textUnknownKey)
	s.refusal(t, "of a key that is too long", with(func(c *call) { c.as = Caller{strings.Repeat("A", 129), s.SecretAccessKey} }), "UnrecognizedClientException", textUnknownKey)
	s.refusal(t, "with a session that does not exist", with(func(c *call) { c.header = map[string]string{"X-Amz-Security-Token": "made up"} }), "UnrecognizedClientException", textUnknownKey)

	header := func(value string) answer {
		t.Helper()
		return with(func(c *call) { c.late = map[string]string{"Authorization": value} })
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("AWS:password"))
	for what, value := range map[string]string{"Basic": basic, "no pairs": "AWS4-HMAC-SHA256 nothing"} {
		s.refusal(t, what, header(value), "IncompleteSignatureException",
			"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '"+hashed(value)+"'.")
	}
	const bare = "AWS4-HMAC-SHA256 Credential=a/b/c/d/e"
	s.refusal(t, "parts missing", header(bare), "IncompleteSignatureException", "Authorization header requires 'Signature' parameter. "+
		"Authorization header requires 'SignedHeaders' parameter. (Hashed with SHA-256 and encoded with Base64) Authorization="+hashed(bare))
	const short = "AWS4-HMAC-SHA256 Credential=AKIA/us-east-1/ecr, SignedHeaders=host, Signature=00"
	s.refusal(t, "a short credential", header(short), "IncompleteSignatureException",
		"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIA/us-east-1/ecr'")
	right := s.request(t, describe).Header.Get("Authorization")
	s.refusal(t, "another algorithm", header(strings.Replace(right, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", 1)), "IncompleteSignatureException", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'.")

	// Who is not known is not told what there is.
	s.refusal(t, "an operation that does not exist", s.do(t, call{op: "NoSuchOperation", unsigned: true}), "MissingAuthenticationTokenException", textNoToken)
	s.refusal(t, "bad input", s.do(t, call{op: "CreateRepository", in: "{", unsigned: true}), "MissingAuthenticationTokenException", textNoToken)
}

// hashed is how messages show an Authorization header that was not understood.
func hashed(header string) string {
	sum := sha256.Sum256([]byte(header))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (s *suite) signatureScopes(t *testing.T) {
	describe := call{op: "DescribeRegistry"}
	describe.service = "s3"
	s.refusal(t, "another service", s.do(t, describe), "InvalidSignatureException", "Credential should be scoped to correct service: 'ecr'. ")
	describe.service = "ecr"
	for _, region := range []string{"moon-west-9", "US-EAST-1", "ap-south-1"} {
		describe.region = region
		s.refusal(t, "region "+region, s.do(t, describe), "InvalidSignatureException", "Credential should be scoped to a valid region. ")
	}
}

// signatureTimes: fifteen minutes in both directions.
func (s *suite) signatureTimes(t *testing.T) {
	now := time.Now().UTC()
	for _, d := range []time.Duration{-14 * time.Minute, 14 * time.Minute} {
		s.succeeded(t, d.String(), s.do(t, call{op: "DescribeRegistry", at: now.Add(d)}))
	}
	for _, d := range []time.Duration{-16 * time.Minute, -24 * time.Hour, 16 * time.Minute, 24 * time.Hour} {
		at := now.Add(d).Format(stamp)
		form := `^Signature expired: ` + at + ` is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)$`
		if d > 0 {
			form = `^Signature not yet current: ` + at + ` is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 15 min\.\)$`
		}
		a := s.do(t, call{op: "DescribeRegistry", at: now.Add(d)})
		s.refusal(t, d.String(), a, "InvalidSignatureException", "x", object{"message": matching(form)})
	}
	a := s.do(t, call{op: "DescribeRegistry", late: map[string]string{"X-Amz-Date": "yesterday"}})
	s.refusal(t, "no date", a, "IncompleteSignatureException", "Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601")
}

// alteredRequests: what was signed cannot be exchanged.
func (s *suite) alteredRequests(t *testing.T) {
	repo, other := s.repo(t, "altered"), unique("altered")
	remove := call{op: "DeleteRepository", in: object{"repositoryName": repo}}
	with := func(change func(*call)) answer {
		t.Helper()
		c := remove
		change(&c)
		return s.do(t, c)
	}
	s.refusal(t, "another body", with(func(c *call) { c.lateBody = `{"repositoryName":"` + other + `"}` }), "InvalidSignatureException", textMismatch)
	s.refusal(t, "another operation", with(func(c *call) { c.late = map[string]string{"X-Amz-Target": targetPrefix + "DescribeRegistry"} }), "InvalidSignatureException", textMismatch)
	s.refusal(t, "another date", with(func(c *call) {
		c.at = time.Now().UTC()
		c.late = map[string]string{"X-Amz-Date": c.at.Add(dayKeeping(c.at)).Format(stamp)}
	}), "InvalidSignatureException", textMismatch)
	s.refusal(t, "a body that is not signed", with(func(c *call) { c.header = map[string]string{"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"} }), "InvalidSignatureException", textMismatch)
	s.refusal(t, "a query that was not signed", func() answer {
		r := s.request(t, remove)
		r.URL.RawQuery = "more=1"
		return s.send(t, r)
	}(), "InvalidSignatureException", textMismatch)

	r := s.request(t, remove)
	r.Host = "localhost.example:1"
	s.refusal(t, "another host", s.send(t, r), "InvalidSignatureException", textMismatch)

	r = s.request(t, remove)
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), ";x-amz-target", "", 1))
	s.refusal(t, "an operation that is not signed", s.send(t, r), "InvalidSignatureException", "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.")

	r = s.request(t, remove)
	r.Header.Add("X-Amz-Target", targetPrefix+"DescribeRegistry")
	s.refusal(t, "two operations", s.send(t, r), "InvalidSignatureException", textMismatch)

	s.succeed(t, "DescribeRepositories", object{"repositoryNames": array{repo}})
	r = s.request(t, remove)
	r.Header.Set("X-Not-Signed", "may be anything")
	s.succeeded(t, "a header beside", s.send(t, r))
}

// dayKeeping is a second forth, or back where forth is the next day.
func dayKeeping(at time.Time) time.Duration {
	if at.Add(time.Second).Day() != at.Day() {
		return -time.Second
	}
	return time.Second
}

// presignedRequests have their signature in the query.
func (s *suite) presignedRequests(t *testing.T) {
	describe := call{op: "DescribeRegistry", presigned: true, query: "X-Amz-Expires=600"}
	got := s.succeeded(t, "presigned", s.do(t, describe))
	same(t, "registryId", s.Account, got["registryId"])
	with := func(change func(*call)) answer {
		t.Helper()
		c := describe
		change(&c)
		return s.do(t, c)
	}
	s.refusal(t, "another body", with(func(c *call) { c.lateBody = `{"x":1}` }), "InvalidSignatureException", textMismatch)
	s.refusal(t, "another secret", with(func(c *call) { c.as = Caller{s.AccessKeyID, "wrong"} }), "InvalidSignatureException", textMismatch)
	at := time.Now().UTC().Add(-11 * time.Minute)
	s.refusal(t, "expired", with(func(c *call) { c.at = at }), "InvalidSignatureException", "x",
		object{"message": matching(`^Signature expired: ` + at.Format(stamp) + ` is now earlier than .*10 min\.\)$`)})
	at = time.Now().UTC().Add(6 * time.Minute)
	s.refusal(t, "not yet", with(func(c *call) { c.at = at }), "InvalidSignatureException", "x",
		object{"message": matching(`^Signature not yet current: ` + at.Format(stamp) + ` is still later than .*5 min\.\)$`)})
	s.succeeded(t, "before long", with(func(c *call) { c.at = time.Now().Add(4 * time.Minute) }))

	r := s.request(t, describe)
	q := r.URL.Query()
	q.Del("X-Amz-SignedHeaders")
	q.Del("X-Amz-Date")
	r.URL.RawQuery = q.Encode()
	s.refusal(t, "parts missing", s.send(t, r), "IncompleteSignatureException",
		"AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters.")
	r = s.request(t, describe)
	r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Expires=600", "X-Amz-Expires=60000", 1)
	s.refusal(t, "another life", s.send(t, r), "InvalidSignatureException", textMismatch)
}

// anotherAccount: nothing is allowed across accounts, and nothing learnt.
func (s *suite) anotherAccount(t *testing.T) {
	repo := s.repo(t, "ours")
	stranger := "arn:aws:iam::" + s.OtherAccount + ":root"
	for _, name := range []string{repo, unique("none")} { // there and not there look the same
		for op, in := range map[string]object{
			"DescribeImages":   {"repositoryName": name, "registryId": s.Account},
			"DeleteRepository": {"repositoryName": name, "registryId": s.Account, "force": true},
			"CreateRepository": {"repositoryName": name, "registryId": s.Account},
		} {
			a := s.do(t, call{op: op, in: in, as: s.Other})
			s.refusal(t, op, a, "AccessDeniedException", s.denied(stranger, "ecr:"+op, s.arn(s.Account, name)))
		}
		a := s.do(t, call{op: "TagResource", in: object{"resourceArn": s.arn(s.Account, name), "tags": array{}}, as: s.Other})
		s.refusal(t, "TagResource", a, "AccessDeniedException", s.denied(stranger, "ecr:TagResource", s.arn(s.Account, name)))
	}
	a := s.do(t, call{op: "DescribeRepositories", in: object{"registryId": s.Account}, as: s.Other})
	s.refusal(t, "DescribeRepositories", a, "AccessDeniedException", s.denied(stranger, "ecr:DescribeRepositories", s.arn(s.Account, "*")))

	// Both have a registry, and the same name stands in each for itself.
	got := s.succeeded(t, "CreateRepository", s.do(t, call{op: "CreateRepository", in: object{"repositoryName": repo}, as: s.Other}))
	same(t, "repositoryArn", s.arn(s.OtherAccount, repo), got["repository"].(object)["repositoryArn"])
	got = s.succeeded(t, "DescribeRegistry", s.do(t, call{op: "DescribeRegistry", as: s.Other}))
	same(t, "registryId", s.OtherAccount, got["registryId"])
	s.succeed(t, "DeleteRepository", object{"repositoryName": repo})
	a = s.do(t, call{op: "DeleteRepository", in: object{"repositoryName": repo}, as: s.Other})
	same(t, "the other's stays", s.arn(s.OtherAccount, repo), s.succeeded(t, "DeleteRepository", a)["repository"].(object)["repositoryArn"])
}

// stsForm is the body of a call of STS.
func stsForm(action string) string {
	return url.Values{"Action": {action}, "Version": {"2011-06-15"}}.Encode()
}

func (s *suite) stsCall(in string) call {
	return call{service: "sts", in: in, header: map[string]string{"Content-Type": contentForm}}
}

func (s *suite) callerIdentity(t *testing.T) {
	get := call{service: "sts", method: http.MethodGet, query: stsForm("GetCallerIdentity"), in: ""}
	presigned := get
	presigned.presigned = true
	elsewhere := s.stsCall(stsForm("GetCallerIdentity"))
	elsewhere.region = "ap-south-1"
	for what, c := range map[string]call{"POST": s.stsCall(stsForm("GetCallerIdentity")), "GET": get, "presigned GET": presigned, "signed for any region": elsewhere} {
		a := s.do(t, c)
		id := a.header.Get("X-Amzn-Requestid")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "text/xml" || !uuidPattern.MatchString(id) {
			t.Fatalf("%s: %d %v %s", what, a.status, a.header, a.body)
		}
		want := `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
			`<UserId>` + s.Account + `</UserId><Account>` + s.Account + `</Account><Arn>` + s.me + `</Arn></GetCallerIdentityResult>` +
			`<ResponseMetadata><RequestId>` + id + `</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
		if string(a.body) != want {
			t.Errorf("%s: the answer is\n%s\nwant\n%s", what, a.body, want)
		}
	}
	if want := "arn:aws:iam::" + s.Account + ":root"; s.me != want {
		t.Errorf("the caller is %s, want %s", s.me, want)
	}
}

func (s *suite) callerIdentityRefused(t *testing.T) {
	right := s.stsCall(stsForm("GetCallerIdentity"))
	wrong, unknown, unsigned, late := right, right, right, right
	wrong.as = Caller{s.AccessKeyID, "wrong"}
	unknown.as = Caller{"AKIANOBODYNOBODYNOBO", "x"}
	unsigned.unsigned = true
	late.at = time.Now().Add(-time.Hour)
	for what, c := range map[string]struct {
		call   call
		status int
		code   string
		text   string
	}{
		"another secret": {wrong, 403, "SignatureDoesNotMatch", textMismatch},
		"an unknown key": {unknown, 403, "InvalidClientTokenId", textUnknownKey},
		"no signature":   {unsigned, 403, "MissingAuthenticationToken", textNoToken},
		"an old one":     {late, 403, "SignatureDoesNotMatch", ""},
		"no such action": {s.stsCall(stsForm("NoSuchAction")), 400, "InvalidAction", "Could not find operation NoSuchAction for version 2011-06-15"},
		"not built":      {s.stsCall(stsForm("AssumeRoot")), 400, "InvalidAction", "Could not find operation AssumeRoot for version 2011-06-15"},
	} {
		a := s.do(t, c.call)
		body := string(a.body)
		if a.status != c.status || a.header.Get("Content-Type") != "text/xml" || !strings.HasPrefix(body, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>`+c.code+`</Code><Message>`+c.text) {
			t.Errorf("%s: %d %s", what, a.status, body)
		}
		if !strings.HasSuffix(body, `</Message></Error><RequestId>`+a.header.Get("X-Amzn-Requestid")+`</RequestId></ErrorResponse>`) {
			t.Errorf("%s: the answer ends with another request id: %s", what, body)
		}
	}
}
