package manifest

import (
	"strconv"
	"strings"
)

// Choose picks the form to serve out of those that a manifest has (its own
// first, see Forms), for a client that accepts the given values of the Accept
// header; each value may be a list. No value at all accepts everything.
//
// The stored form is served whenever the client understands it. Otherwise the
// translation that the client prefers by its q values is chosen, and the
// earlier form among equals. It answers false where the client accepts none.
func Choose(forms, accept []string) (string, bool) {
	if len(forms) == 0 {
		return "", false
	}
	ranges := parseAccept(accept)
	if len(ranges) == 0 {
		return forms[0], true
	}
	if weight(ranges, forms[0]) > 0 || acceptsPlainJSON(ranges, forms[0]) {
		return forms[0], true
	}
	best, bestWeight := "", 0
	for _, form := range forms[1:] {
		if w := weight(ranges, form); w > bestWeight {
			best, bestWeight = form, w
		}
	}
	return best, best != ""
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	name   string // lower case, without parameters
	weight int    // thousandths
}

// parseAccept reads the elements of the header's values. An element that is no
// media range, or whose weight is none, is passed over: a client that sends
// rubbish beside good values still gets what the good values ask for.
func parseAccept(accept []string) []mediaRange {
	var ranges []mediaRange
	for _, value := range accept {
		for element := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(element) == "" {
				continue
			}
			r := mediaRange{name: bareMediaType(element), weight: 1000}
			_, params, _ := strings.Cut(element, ";")
			valid := strings.Count(r.name, "/") == 1
			for p := range strings.SplitSeq(params, ";") {
				key, val, _ := strings.Cut(strings.TrimSpace(p), "=")
				if !strings.EqualFold(strings.TrimSpace(key), "q") {
					continue
				}
				q, err := strconv.ParseFloat(strings.TrimSpace(val), 64)
				if err != nil || !(q >= 0 && q <= 1) {
					valid = false
					continue
				}
				r.weight = int(q*1000 + 0.5)
			}
			if valid {
				ranges = append(ranges, r)
			}
		}
	}
	return ranges
}

// weight is how much the client wants the media type: by an exact element if
// there is one, else by application/*, else by */*; 0 for not at all. Both
// names of schema 1 stand for the same form.
func weight(ranges []mediaRange, mediaType string) int {
	exact, family, all := -1, -1, -1
	for _, r := range ranges {
		switch {
		case r.name == mediaType || (isSchema1(r.name) && isSchema1(mediaType)):
			exact = max(exact, r.weight)
		case r.name == "application/*":
			family = max(family, r.weight)
		case r.name == "*/*":
			all = max(all, r.weight)
		}
	}
	for _, w := range []int{exact, family, all} {
		if w >= 0 {
			return w
		}
	}
	return 0
}

// acceptsPlainJSON handles application/json. Docker sends it beside the formats
// that it knows and means schema 1 by it; a client that sends nothing more
// telling wants the manifest, whatever it is.
func acceptsPlainJSON(ranges []mediaRange, stored string) bool {
	accepted := false
	for _, r := range ranges {
		if _, known := KindOf(r.name); known && !isSchema1(stored) {
			return false
		}
		accepted = accepted || (r.name == genericJSON && r.weight > 0)
	}
	return accepted
}

func isSchema1(mediaType string) bool {
	return mediaType == DockerSchema1 || mediaType == DockerSchema1Signed
}
