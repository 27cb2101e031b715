package inventory

import "strconv"

func fullVersion(epoch int, version, release string) string {
	if release != "" {
		version += "-" + release
	}
	if epoch != 0 && version != "" {
		version = strconv.Itoa(epoch) + ":" + version
	}
	return version
}
