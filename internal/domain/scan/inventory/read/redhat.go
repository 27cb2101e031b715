package read

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// contentSetsMax is far more than any image of Red Hat's has (about fifty).
const contentSetsMax = 1000

var errJSON = errors.New("is not the JSON it should be")

// contentSets reads which of Red Hat's repositories an image was built from.
func contentSets(r io.Reader) ([]string, error) {
	var manifest struct {
		ContentSets []string `json:"content_sets"`
	}
	if err := json.NewDecoder(io.LimitReader(r, smallMax)).Decode(&manifest); err != nil {
		return nil, errJSON
	}
	sets := manifest.ContentSets
	if len(sets) > contentSetsMax {
		return nil, errors.New("names too many content sets")
	}
	for _, s := range sets {
		if len(s) > nameMax {
			return nil, errors.New("names a content set that is too long")
		}
	}
	return sets, nil
}

// labels reads the labels of an image, which newer builds of Red Hat leave in it.
func labels(r io.Reader) (*inventory.Build, error) {
	var l struct {
		Component    string `json:"com.redhat.component"`
		Version      string `json:"version"`
		Release      string `json:"release"`
		Architecture string `json:"architecture"`
	}
	if err := json.NewDecoder(io.LimitReader(r, smallMax)).Decode(&l); err != nil {
		return nil, errJSON
	}
	return newBuild(l.Component, l.Version+"-"+l.Release, l.Architecture), nil
}

func newBuild(component, version, arch string) *inventory.Build {
	nvr := component + "-" + version
	if component == "" || arch == "" || len(nvr) > nameMax || len(arch) > nameMax {
		return nil
	}
	return &inventory.Build{NVR: nvr, Arch: arch}
}

// dockerfile reads the labels that say what Red Hat calls the image; its version and
// release stand in the file's name, "Dockerfile-ubi8-8.3-227". Values may use what ENV and ARG set.
func dockerfile(path string, r io.Reader) (*inventory.Build, error) {
	s := lines(io.LimitReader(r, smallMax))
	env := map[string]string{}
	var component, arch, instruction string
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "#") {
			continue
		}
		if len(instruction)+len(line) > lineMax {
			return nil, errors.New("has an instruction that is too long")
		}
		more := strings.HasSuffix(line, `\`)
		instruction += strings.TrimSuffix(line, `\`) + " "
		if more {
			continue
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(instruction), " ")
		instruction = ""
		switch strings.ToUpper(word) {
		case "ENV", "ARG":
			for k, v := range assignments(rest) {
				if len(env) < 1000 {
					env[k] = expand(v, env)
				}
			}
		case "LABEL":
			for k, v := range assignments(rest) {
				switch strings.ToLower(expand(k, env)) {
				case "com.redhat.component", "bzcomponent":
					component = expand(v, env)
				case "architecture":
					arch = expand(v, env)
				}
			}
		}
	}
	if err := scanned(s); err != nil {
		return nil, err
	}
	// The last two parts of the name.
	version := path
	if i := strings.LastIndexByte(path, '-'); i >= 0 {
		version = path[strings.LastIndexByte(path[:i], '-')+1:]
	}
	return newBuild(component, version, arch), nil
}

// assignments are the key=value of an instruction, values quoted or not; and the older
// form of one key, a space and its value.
func assignments(s string) map[string]string {
	out := map[string]string{}
	for len(out) < 1000 {
		s = strings.TrimSpace(s)
		i := strings.IndexAny(s, "= ")
		if i <= 0 {
			break
		}
		key := strings.Trim(s[:i], `"'`)
		if s[i] == ' ' {
			if len(out) == 0 {
				out[key] = strings.Trim(strings.TrimSpace(s[i:]), `"'`)
			}
			break
		}
		s = s[i+1:]
		var text strings.Builder
		quote := byte(0)
	value:
		for i = 0; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '\\' && i+1 < len(s) && quote != '\'':
				i++
				text.WriteByte(s[i])
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case c == quote && quote != 0:
				quote = 0
			case c == ' ' && quote == 0:
				break value
			default:
				text.WriteByte(c)
			}
		}
		out[key] = text.String()
		s = s[i:]
	}
	return out
}

// expand puts in what $NAME and ${NAME} stand for, once.
func expand(s string, env map[string]string) string {
	if !strings.Contains(s, "$") || len(s) > textMax {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' {
			out.WriteByte(s[i])
			continue
		}
		rest := s[i+1:]
		if inner, ok := strings.CutPrefix(rest, "{"); ok {
			if end := strings.IndexByte(inner, '}'); end >= 0 {
				out.WriteString(env[inner[:end]])
				i += end + 2
			}
			continue
		}
		end := 0
		for end < len(rest) && (rest[end] == '_' || rest[end] >= '0' && rest[end] <= '9' || rest[end]|0x20 >= 'a' && rest[end]|0x20 <= 'z') {
			end++
		}
		out.WriteString(env[rest[:end]])
		i += end
	}
	return cut(out.String())
}
