package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// pairs are the query's parameters, decoded, in the order they were sent.
type pairs []pair

type pair struct{ key, value string }

func (p pairs) has(key string) bool {
	_, n := p.get(key)
	return n > 0
}

// get returns the first value of a parameter and how often it occurs.
func (p pairs) get(key string) (value string, n int) {
	for _, kv := range p {
		if kv.key == key {
			if n == 0 {
				value = kv.value
			}
			n++
		}
	}
	return value, n
}

// parseQuery decodes a raw query. It says false to what url.ParseQuery would
// quietly drop (a broken escape, a semicolon), because the handler then would
// not see what was signed.
func parseQuery(raw string) (pairs, bool) {
	if raw == "" {
		return nil, true
	}
	out := make(pairs, 0, strings.Count(raw, "&")+1)
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		if strings.Contains(part, ";") {
			return nil, false
		}
		key, value, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			return nil, false
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, false
		}
		out = append(out, pair{key, value})
	}
	return out, true
}

// rawTarget is the path and the query as they stood on the request line. The
// escaped form that net/url makes up again is not always the one that was sent.
func rawTarget(r *http.Request) (path, query string) {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, query, _ = strings.Cut(r.RequestURI, "?")
		return path, query
	}
	return r.URL.EscapedPath(), r.URL.RawQuery
}

// canonicalRequest builds the text whose hash is signed.
func canonicalRequest(r *http.Request, path string, query pairs, signedHeaders []string, payloadHash string) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = appendPath(b, path)
	b = append(b, '\n')
	b = appendQuery(b, query)
	b = append(b, '\n')
	for _, name := range signedHeaders {
		b = append(b, name...)
		b = append(b, ':')
		b = appendHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range signedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, payloadHash...)
}

// appendPath appends the canonical path: dot segments and doubled slashes gone
// as RFC 3986 says, then every byte escaped that is not unreserved. What was
// escaped on the wire is so escaped a second time, as all services but S3 want.
func appendPath(b []byte, path string) []byte {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return appendEscaped(b, path, '/')
	}
	var kept []string
	slash := true // whether the path ends in one
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
			slash = true
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			slash = true
		default:
			kept = append(kept, part)
			slash = false
		}
	}
	for _, part := range kept {
		b = append(b, '/')
		b = appendEscaped(b, part, '/')
	}
	if slash {
		b = append(b, '/')
	}
	return b
}

// appendQuery appends the canonical query: escaped, then sorted by name and
// value, without the signature itself.
func appendQuery(b []byte, query pairs) []byte {
	if len(query) == 0 {
		return b
	}
	escaped := make(pairs, 0, len(query))
	for _, kv := range query {
		if kv.key != paramSignature {
			escaped = append(escaped, pair{escape(kv.key), escape(kv.value)})
		}
	}
	slices.SortFunc(escaped, func(x, y pair) int {
		if c := strings.Compare(x.key, y.key); c != 0 {
			return c
		}
		return strings.Compare(x.value, y.value)
	})
	for i, kv := range escaped {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, kv.key...)
		b = append(b, '=')
		b = append(b, kv.value...)
	}
	return b
}

// appendHeader appends a header's canonical value. net/http takes some headers
// out of the map; they are found where it puts them.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return appendTrimmed(b, r.Host)
	case "content-length":
		if len(r.Header["Content-Length"]) == 0 && r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding":
		if len(r.TransferEncoding) > 0 {
			return append(b, strings.Join(r.TransferEncoding, ",")...)
		}
	}
	for i, value := range r.Header.Values(name) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, value)
	}
	return b
}

// appendTrimmed appends a value without the blanks around it, and with runs of
// blanks inside it as one.
func appendTrimmed(b []byte, value string) []byte {
	value = strings.TrimSpace(value)
	for i := range len(value) {
		if value[i] == ' ' && value[i-1] == ' ' {
			continue
		}
		b = append(b, value[i])
	}
	return b
}

func escape(s string) string {
	for i := range len(s) {
		if !unreserved(s[i]) {
			return string(appendEscaped(make([]byte, 0, len(s)+16), s, 0))
		}
	}
	return s
}

// appendEscaped percent-encodes all but the unreserved characters of RFC 3986
// and keep.
func appendEscaped(b []byte, s string, keep byte) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if unreserved(c) || (c == keep && keep != 0) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}
