package sigv4

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	// isoBasic is the form in which dates are signed.
	isoBasic = "20060102T150405Z"
	isoDay   = "20060102"

	maxExpires = 7 * 24 * time.Hour
)

// The names of the presigned form's query parameters.
const (
	paramAlgorithm     = "X-Amz-Algorithm"
	paramCredential    = "X-Amz-Credential"
	paramDate          = "X-Amz-Date"
	paramExpires       = "X-Amz-Expires"
	paramSignedHeaders = "X-Amz-SignedHeaders"
	paramSignature     = "X-Amz-Signature"
	paramToken         = "X-Amz-Security-Token"
	paramContentHash   = "X-Amz-Content-Sha256"
)

// claim is what a request says about its signature, read but not yet believed.
type claim struct {
	keyID, day, region, service string

	date          time.Time
	dateText      string // as signed
	signedHeaders []string
	signature     string
	token         string
	contentHash   string // the body's hash as the client announces it, "" if it does not

	presigned bool
	expires   time.Duration // 0: not given
}

// readClaim finds the signature in the request. The query has to be parsed
// already, since the presigned form stands in it.
func readClaim(r *http.Request, query pairs) (claim, *Error) {
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) > 1:
		// Which of them a proxy in front has looked at cannot be known.
		return claim{}, mismatch()
	case len(headers) == 1:
		return readHeader(r, headers[0])
	case query.has(paramSignature) || query.has(paramCredential) || query.has(paramAlgorithm):
		return readQuery(r, query)
	}
	return claim{}, missingToken()
}

func readHeader(r *http.Request, header string) (claim, *Error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	var c claim
	var credential, signedHeaders string
	for _, part := range strings.FieldsFunc(rest, func(ch rune) bool { return ch == ',' || ch == ' ' }) {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return claim{}, badPair(header)
		}
		switch key {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signedHeaders = value
		case "Signature":
			c.signature = value
		}
	}
	date := r.Header.Get("X-Amz-Date")
	if date == "" {
		date = r.Header.Get("Date")
	}
	if credential == "" || c.signature == "" || signedHeaders == "" || date == "" {
		return claim{}, incompleteHeader(header, credential != "", c.signature != "", signedHeaders != "", date != "")
	}
	if scheme != algorithm {
		return claim{}, refuse(IncompleteSignature, "Unsupported AWS 'algorithm': '%s'.", scheme)
	}
	if err := c.setCredential(credential); err != nil {
		return claim{}, err
	}
	if err := c.setDate(date); err != nil {
		return claim{}, err
	}
	if err := c.setSignedHeaders(r.Header, signedHeaders); err != nil {
		return claim{}, err
	}
	c.token = r.Header.Get("X-Amz-Security-Token")
	c.contentHash = r.Header.Get("X-Amz-Content-Sha256")
	return c, nil
}

func readQuery(r *http.Request, query pairs) (claim, *Error) {
	c := claim{presigned: true}
	values := map[string]string{}
	var missing []string
	for _, name := range []string{paramAlgorithm, paramCredential, paramSignature, paramSignedHeaders, paramDate} {
		value, n := query.get(name)
		if n > 1 {
			return claim{}, mismatch()
		}
		if value == "" {
			missing = append(missing, name)
		}
		values[name] = value
	}
	if missing != nil {
		return claim{}, incompleteQuery(missing)
	}
	if values[paramAlgorithm] != algorithm {
		return claim{}, refuse(IncompleteSignature, "Unsupported AWS 'algorithm': '%s'.", values[paramAlgorithm])
	}
	c.signature = values[paramSignature]
	if err := c.setCredential(values[paramCredential]); err != nil {
		return claim{}, err
	}
	if err := c.setDate(values[paramDate]); err != nil {
		return claim{}, err
	}
	if err := c.setExpires(query); err != nil {
		return claim{}, err
	}
	if err := c.setSignedHeaders(r.Header, values[paramSignedHeaders]); err != nil {
		return claim{}, err
	}
	var n int
	if c.token, n = query.get(paramToken); n > 1 {
		return claim{}, mismatch()
	}
	if c.token == "" {
		c.token = r.Header.Get("X-Amz-Security-Token")
	}
	if c.contentHash, n = query.get(paramContentHash); n > 1 {
		return claim{}, mismatch()
	}
	if c.contentHash == "" {
		c.contentHash = r.Header.Get("X-Amz-Content-Sha256")
	}
	return c, nil
}

// setCredential reads keyid/date/region/service/term.
func (c *claim) setCredential(credential string) *Error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 {
		return refuse(IncompleteSignature,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", credential)
	}
	if parts[4] != terminator {
		return refuse(InvalidSignature, "Credential should be scoped with a valid terminator: '%s', not '%s'. ", terminator, parts[4])
	}
	c.keyID, c.day, c.region, c.service = parts[0], parts[1], parts[2], parts[3]
	return nil
}

// setDate reads the time of signing: the form that X-Amz-Date has, or one that
// HTTP allows in Date.
func (c *claim) setDate(text string) *Error {
	date, err := time.Parse(isoBasic, text)
	if err != nil {
		if date, err = http.ParseTime(text); err != nil {
			return badDate(text)
		}
	}
	c.date = date.UTC()
	c.dateText = c.date.Format(isoBasic)
	if day := c.date.Format(isoDay); day != c.day {
		return refuse(InvalidSignature,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			c.day, day, c.dateText)
	}
	return nil
}

func (c *claim) setExpires(query pairs) *Error {
	text, n := query.get(paramExpires)
	if n == 0 {
		return nil // the SDKs leave it out for services other than S3
	}
	seconds, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil || n > 1:
		return refuse(IncompleteSignature, "X-Amz-Expires should be a number")
	case seconds <= 0:
		return refuse(IncompleteSignature, "X-Amz-Expires must be non-negative")
	case time.Duration(seconds)*time.Second > maxExpires:
		return refuse(IncompleteSignature, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than %d seconds",
			int64(maxExpires/time.Second))
	}
	c.expires = time.Duration(seconds) * time.Second
	return nil
}

// setSignedHeaders reads the list of signed headers and insists on those that
// say where the request goes and what it asks for: without the host a request
// could be replayed to another registry, and without the target its operation
// could be exchanged.
func (c *claim) setSignedHeaders(h http.Header, list string) *Error {
	names := strings.Split(strings.ToLower(list), ";")
	slices.Sort(names)
	for i, name := range names {
		if name == "" || (i > 0 && name == names[i-1]) {
			return mismatch()
		}
	}
	if !slices.Contains(names, "host") {
		return unsignedHeader("'Host' or ':authority'")
	}
	if len(h.Values("X-Amz-Target")) > 0 && !slices.Contains(names, "x-amz-target") {
		return unsignedHeader("'X-Amz-Target'")
	}
	// Of these the first value is used; a second one could only confuse.
	for _, name := range []string{"X-Amz-Date", "Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Target"} {
		if len(h.Values(name)) > 1 {
			return mismatch()
		}
	}
	c.signedHeaders = names
	return nil
}
