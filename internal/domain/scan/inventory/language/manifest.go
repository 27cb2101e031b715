package language

import (
	"archive/zip"
	"bytes"
	"context"
	"path"
	"regexp"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// manifest is what a MANIFEST.MF says of its archive.
type manifest struct {
	attributes map[string]string
	licenses   []string
}

// manifest reads the main section of a MANIFEST.MF. A long value goes on in the next line, after a space.
func (o *opener) manifest(ctx context.Context, f *zip.File) (manifest, error) {
	b, err := o.read(ctx, f, maxProperties)
	if err != nil {
		return manifest{}, err
	}
	m := manifest{attributes: map[string]string{}}
	last := ""
	err = lines(ctx, bytes.NewReader(b), func(line string) (bool, error) {
		if line == "" {
			return false, nil // sections of single entries follow
		}
		if more, ok := strings.CutPrefix(line, " "); ok {
			if v, known := m.attributes[last]; known && len(v) < 8*maxWord {
				m.attributes[last] = v + more
			}
			return true, nil
		}
		name, val, _ := strings.Cut(line, ":")
		last = strings.ToLower(name)
		if used(last) {
			m.attributes[last] = strings.TrimPrefix(val, " ")
		}
		return true, nil
	})
	for name, v := range m.attributes {
		v = strings.TrimSpace(v)
		if strings.HasPrefix(v, "%") { // the name of a translated text
			v = ""
		}
		m.attributes[name] = v
	}
	for entry := range strings.SplitSeq(m.attributes["bundle-license"], ",") {
		entry, _, _ = strings.Cut(entry, ";")
		switch entry = strings.Trim(entry, ` "`); {
		case strings.Contains(entry, "apache.org/licenses/LICENSE-2.0"):
			m.licenses = append(m.licenses, "Apache-2.0")
		case entry != "" && !strings.Contains(entry, "/") && !strings.HasPrefix(entry, "<"):
			m.licenses = append(m.licenses, entry)
		}
	}
	return m, err
}

// used says whether an attribute of a manifest tells of the artifact; others are not kept.
func used(name string) bool {
	switch name {
	case "implementation-version", "implementation-title", "implementation-vendor", "implementation-vendor-id",
		"specification-title", "specification-version", "specification-vendor",
		"bundle-name", "bundle-version", "bundle-symbolicname", "bundle-license":
		return true
	}
	return false
}

// first is the first of the attributes that is there.
func (m manifest) first(names ...string) string {
	for _, n := range names {
		if v := m.attributes[n]; v != "" {
			return v
		}
	}
	return ""
}

// artifactName is how Maven's repository names an archive's file: artifact and version.
var artifactName = regexp.MustCompile(`^([a-zA-Z0-9._-]*[^-*])-([0-9]\S*)\.(?i:jar|war|ear|par)$`)

// own is the package of the archive itself, for one in which Maven left no pom.properties of it. Tools
// other than Maven leave none: then a well-known artifact is known by its file's name, any other by
// what its manifest says, which need not be how its repository names it.
func (m manifest) own(at string, named []inventory.Package) []inventory.Package {
	artifact, version := "", ""
	if p := artifactName.FindStringSubmatch(path.Base(at)); p != nil {
		artifact, version = p[1], p[2]
	}
	if artifact == "" && m.first("implementation-title") == "Apache Tomcat" {
		// Tomcat's own distribution has catalina.jar for tomcat-catalina-9.0.1.jar.
		base := path.Base(at)
		artifact = "tomcat-" + strings.TrimPrefix(strings.TrimSuffix(base, path.Ext(base)), "tomcat-")
		version = m.first("implementation-version")
	}
	for _, p := range named {
		if artifact != "" && strings.HasSuffix(p.Name, ":"+artifact) && p.Version == version {
			return nil
		}
	}
	p := maven(wellKnown(artifact), artifact, version)
	if p.Name == "" {
		group := m.first("implementation-vendor-id")
		if group == "" {
			// "com.fasterxml.jackson.core.jackson-databind" is of the group before the last dot.
			group, _, _ = strings.Cut(m.first("bundle-symbolicname"), ";")
			if i := strings.LastIndexByte(group, '.'); i > 0 {
				group = group[:i]
			}
		}
		if group == "" {
			group = m.first("implementation-vendor", "specification-vendor")
		}
		p = maven(group, m.first("implementation-title", "specification-title", "bundle-name"),
			m.first("implementation-version", "specification-version", "bundle-version"))
	}
	for _, other := range named {
		if p.Name == other.Name {
			return nil
		}
	}
	p.Path = at
	return []inventory.Package{p}
}

// wellKnown is the group of an artifact that is widely used and not built by Maven, "" for others. They are
// artifacts of which advisories speak; the names are unique in Maven Central in practice.
func wellKnown(artifact string) string {
	for _, k := range [...]struct{ prefix, group string }{
		{"spring-boot", "org.springframework.boot"},
		{"spring-security-", "org.springframework.security"},
		{"spring-data-", "org.springframework.data"},
		{"tomcat-embed-", "org.apache.tomcat.embed"},
		{"tomcat-", "org.apache.tomcat"},
		{"micrometer-", "io.micrometer"},
		{"grpc-", "io.grpc"},
		{"kotlin-stdlib", "org.jetbrains.kotlin"},
		{"kotlin-reflect", "org.jetbrains.kotlin"},
		{"lucene-", "org.apache.lucene"},
		{"hibernate-validator", "org.hibernate.validator"},
	} {
		if strings.HasPrefix(artifact, k.prefix) {
			return k.group
		}
	}
	switch artifact {
	case "spring-aop", "spring-aspects", "spring-beans", "spring-context", "spring-context-support", "spring-core", "spring-expression",
		"spring-jcl", "spring-jdbc", "spring-jms", "spring-messaging", "spring-orm", "spring-oxm", "spring-test", "spring-tx", "spring-web",
		"spring-webflux", "spring-webmvc", "spring-websocket":
		return "org.springframework"
	case "okhttp":
		return "com.squareup.okhttp3"
	case "okio", "okio-jvm":
		return "com.squareup.okio"
	case "kafka-clients", "connect-runtime":
		return "org.apache.kafka"
	case "groovy", "groovy-all":
		return "org.codehaus.groovy"
	case "hibernate-core":
		return "org.hibernate"
	case "postgresql":
		return "org.postgresql"
	case "mysql-connector-java":
		return "mysql"
	case "mysql-connector-j":
		return "com.mysql"
	case "mssql-jdbc":
		return "com.microsoft.sqlserver"
	case "elasticsearch":
		return "org.elasticsearch"
	case "opensearch":
		return "org.opensearch"
	case "reactor-netty-http", "reactor-netty-core", "reactor-netty":
		return "io.projectreactor.netty"
	case "bcprov-jdk15on", "bcpkix-jdk15on", "bcprov-jdk18on", "bcpkix-jdk18on", "bcprov-jdk15to18", "bcpkix-jdk15to18":
		return "org.bouncycastle"
	case "protobuf-java":
		return "com.google.protobuf"
	case "xercesImpl":
		return "xerces"
	case "jython", "jython-standalone":
		return "org.python"
	case "h2":
		return "com.h2database"
	case "nimbus-jose-jwt":
		return "com.nimbusds"
	}
	return ""
}
