package verify

import (
	"regexp"
	"time"
)

// chain is what the digests have in common that follow each other.
type chain struct{ prefix, account, region, trail string }

// digestName is what the key of a digest says.
type digestName struct {
	chain
	key string
	end time.Time
}

// logName is what the key of a log file says.
type logName struct {
	account, region string
	at              time.Time // to the minute
}

var (
	digestRE = regexp.MustCompile(`^(.*/)?AWSLogs/(\d{12})/CloudTrail-Digest/([^/]+)/\d{4}/\d\d/\d\d/(\d{12})_CloudTrail-Digest_([^/_]+)_([^/]+)_(\d{8}T\d{6}Z)\.json\.gz$`)
	logRE    = regexp.MustCompile(`^(?:.*/)?AWSLogs/(\d{12})/CloudTrail/([^/]+)/\d{4}/\d\d/\d\d/(\d{12})_CloudTrail_([^/_]+)_(\d{8}T\d{4}Z)_[A-Za-z0-9]{16}\.json\.gz$`)
)

// parseDigest reads the key of a digest; false if it is none.
func parseDigest(key string) (digestName, bool) {
	m := digestRE.FindStringSubmatch(key)
	if m == nil || m[2] != m[4] || m[3] != m[5] {
		return digestName{}, false
	}
	end, err := time.Parse("20060102T150405Z", m[7])
	// m[6] is the trail's name and its home region, which together tell trails apart.
	return digestName{chain{m[1], m[2], m[3], m[6]}, key, end}, err == nil
}

// parseLog reads the key of a log file; false if it is none.
func parseLog(key string) (logName, bool) {
	m := logRE.FindStringSubmatch(key)
	if m == nil || m[1] != m[3] || m[2] != m[4] {
		return logName{}, false
	}
	at, err := time.Parse("20060102T1504Z", m[5])
	return logName{m[1], m[2], at}, err == nil
}
