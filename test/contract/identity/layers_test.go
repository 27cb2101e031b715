package identity

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

// uploadOf opens an upload in a repository of account A and returns its id, and
// a check that nothing has happened to it.
func uploadOf(t *testing.T, w *world, repo string) (id string, unharmed func()) {
	t.Helper()
	r := w.a.registry(t)
	location := must(r.StartUpload(t.Context(), repo))(t)
	location = must(r.Append(t.Context(), location, 0, []byte("half")))(t)
	u := must(url.Parse(location))(t)
	return u.Path[strings.LastIndexByte(u.Path, '/')+1:], func() {
		t.Helper()
		if err := r.Finish(t.Context(), location, harness.Digest([]byte("half and half")), []byte(" and half")); err != nil {
			t.Errorf("the upload was harmed: %v", err)
		}
	}
}

// meddle does everything that can be done with an upload.
func meddle(t *testing.T, r *harness.Registry, repo, id string) error {
	t.Helper()
	path := "/v2/" + repo + "/blobs/uploads/" + id
	octets := map[string]string{"Content-Type": "application/octet-stream"}
	do := func(q harness.Request, want int) error {
		_, err := r.Do(t.Context(), q, want)
		return err
	}
	return each(
		do(harness.Request{Method: http.MethodGet, Path: path}, http.StatusNoContent),
		do(harness.Request{Method: http.MethodPatch, Path: path, Body: strings.NewReader("mine"), Header: octets}, http.StatusAccepted),
		do(harness.Request{Method: http.MethodPut, Path: path + "?digest=" + harness.Digest([]byte("half")), Header: octets}, http.StatusCreated),
		do(harness.Request{Method: http.MethodPut, Path: path + "?digest=" + harness.Digest([]byte("halfmine")), Body: strings.NewReader("mine"), Header: octets}, http.StatusCreated),
		do(harness.Request{Method: http.MethodDelete, Path: path}, http.StatusNoContent))
}

func uploadAttempts() group {
	const gone = "404 BLOB_UPLOAD_UNKNOWN: The upload with id '<id>' does not exist in the repository with name '<repo>' in the registry with id '" + accountA + "'"
	return group{"Uploads of others", []attempt{
		{"another repository's upload id: status, bytes, finish, cancel", gone, func(t *testing.T, w *world) error {
			mine, other := w.a.repo(t), w.a.repo(t)
			id, unharmed := uploadOf(t, w, other)
			defer unharmed()
			return meddle(t, w.a.user(t, can(pushing, mine)...).registry(t), mine, id)
		}},
		{"the same by an administrator of another account, in a repository of theirs", strings.Replace(gone, accountA, accountB, 1), func(t *testing.T, w *world) error {
			id, unharmed := uploadOf(t, w, w.a.repo(t))
			defer unharmed()
			return meddle(t, w.b.registry(t), w.b.repo(t), id)
		}},
		{"the same at the registry of the upload", "403 DENIED", func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			id, unharmed := uploadOf(t, w, repo)
			defer unharmed()
			r := w.registryOf(accountA, w.b.login(t))
			path := "/v2/" + repo + "/blobs/uploads/" + id
			var results []error
			for method, status := range map[string]int{http.MethodGet: http.StatusNoContent, http.MethodPatch: http.StatusAccepted, http.MethodPut: http.StatusCreated, http.MethodDelete: http.StatusNoContent} {
				code, _, _ := strings.Cut(answerOf(ask(t, r, method, path+"?digest="+harness.Digest([]byte("half")), status)), ",")
				results = append(results, outcome(code))
			}
			return each(results...)
		}},
		{"the same in a repository of the same name in another region", gone, func(t *testing.T, w *world) error {
			repo := w.a.repo(t)
			id, unharmed := uploadOf(t, w, repo)
			defer unharmed()
			must(w.a.abroad().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo}))(t)
			token := must(w.a.abroad().GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{}))(t).AuthorizationData[0].AuthorizationToken
			return meddle(t, w.RegistryAt(registryHost(accountA, abroad), "Basic "+*token), repo, id)
		}},
		{"another repository's upload id in UploadLayerPart and CompleteLayerUpload", "UploadNotFoundException", func(t *testing.T, w *world) error {
			mine, other := w.a.repo(t), w.a.repo(t)
			id, unharmed := uploadOf(t, w, other)
			defer unharmed()
			u := w.a.user(t, can(pushing, mine)...)
			_, part := u.ecr.UploadLayerPart(t.Context(), &ecr.UploadLayerPartInput{RepositoryName: &mine, UploadId: &id, PartFirstByte: aws.Int64(4), PartLastByte: aws.Int64(7), LayerPartBlob: []byte("mine")})
			_, complete := u.ecr.CompleteLayerUpload(t.Context(), &ecr.CompleteLayerUploadInput{RepositoryName: &mine, UploadId: &id, LayerDigests: []string{harness.Digest([]byte("half"))}})
			return each(codeOf(part), codeOf(complete))
		}},
		{"a whole layer in one POST without ecr:UploadLayerPart", "403 DENIED, because no identity-based policy allows the ecr:UploadLayerPart action", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			r := w.a.user(t, can("ecr:InitiateLayerUpload ecr:CompleteLayerUpload", mine)...).registry(t)
			_, err := r.Do(t.Context(), harness.Request{
				Method: http.MethodPost, Path: "/v2/" + mine + "/blobs/uploads/?digest=" + harness.Digest([]byte("all")), Body: strings.NewReader("all"),
			}, http.StatusCreated)
			return err
		}},
		{"bytes in the last PUT of an upload without ecr:UploadLayerPart", "403 DENIED, because no identity-based policy allows the ecr:UploadLayerPart action", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			r := w.a.user(t, can("ecr:InitiateLayerUpload ecr:CompleteLayerUpload", mine)...).registry(t)
			location := must(r.StartUpload(t.Context(), mine))(t)
			return r.Finish(t.Context(), location, harness.Digest([]byte("all")), []byte("all"))
		}},
	}}
}

// codeOf is the code of an answer without its text.
func codeOf(err error) error {
	code, _, _ := strings.Cut(answerOf(err), ":")
	return outcome(code)
}

// downloadURL asks for the address of a layer.
func (c *caller) downloadURL(t *testing.T, repo, digest string) string {
	t.Helper()
	return *must(c.ecr.GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: &repo, LayerDigest: &digest}))(t).DownloadUrl
}

// fetch gets an address without any credentials.
func fetch(t *testing.T, w *world, address string) error {
	t.Helper()
	_, err := w.RegistryAt("localhost", "").Do(t.Context(), harness.Request{Method: http.MethodGet, Path: address}, http.StatusOK)
	return err
}

// mount asks for a layer of another repository and returns what came: the status
// and the headers that could tell something.
func mount(t *testing.T, r *harness.Registry, into, from, digest string) error {
	t.Helper()
	a := must(r.Do(t.Context(), harness.Request{Method: http.MethodPost, Path: "/v2/" + into + "/blobs/uploads/?mount=" + digest + "&from=" + url.QueryEscape(from)}))(t)
	said := []string{strconv.Itoa(a.Status)}
	for name := range a.Header {
		switch name {
		case "Date", "X-Amzn-Requestid", "Location", "Docker-Upload-Uuid", "Content-Length", "Docker-Distribution-Api-Version", "X-Content-Type-Options":
		case "Range":
			said = append(said, "Range "+a.Header.Get(name))
		default:
			said = append(said, name)
		}
	}
	if a.Status == http.StatusAccepted && len(said) == 2 && said[1] == "Range 0-0" && len(a.Body) == 0 {
		return outcome("202, an empty upload")
	}
	return outcome(strings.Join(said, " ") + string(a.Body))
}

func layerAttempts() group {
	const noMatch = "403: the signature of this address does not match; ask for a new one with GetDownloadUrlForLayer"
	const emptyUpload = "202, an empty upload"
	return group{"Layers of others", []attempt{
		{"a download address changed to another layer, repository, account, region or end", noMatch, func(t *testing.T, w *world) error {
			repo, i := w.a.filled(t)
			other, secret := w.a.filled(t)
			good := w.a.user(t, can(pulling, repo)...).downloadURL(t, repo, i.layerDigest())
			rightful(t, "unchanged", fetch(t, w, good))
			u := must(url.Parse(good))(t)
			later := u.Query()
			later.Set("Expires", strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10))
			swap := func(old, with string) error {
				changed := strings.Replace(good, old, with, 1)
				if changed == good {
					t.Fatalf("%s is not in %s", old, good)
				}
				return fetch(t, w, changed)
			}
			end := *u
			end.RawQuery = later.Encode()
			return each(
				swap(i.layerDigest(), secret.layerDigest()), swap(repo, other), swap(accountA, accountB), swap(home, abroad),
				swap("/"+repo+"/", "/x/../"+repo+"/"), fetch(t, w, end.String()), fetch(t, w, strings.Split(good, "?")[0]))
		}},
		{"a download address after the permission was withdrawn", "served until it expires, an hour after it was given", func(t *testing.T, w *world) error {
			repo, i := w.a.filled(t)
			u := w.a.user(t, can(pulling, repo)...)
			good := u.downloadURL(t, repo, i.layerDigest())
			w.a.put(t, u.name, deny("ecr:*", "*"))
			if err := fetch(t, w, good); err != nil {
				return err
			}
			expires := must(strconv.ParseInt(must(url.Parse(good))(t).Query().Get("Expires"), 10, 64))(t)
			if left := time.Until(time.Unix(expires, 0)); left > time.Hour {
				t.Errorf("the address holds for %s", left)
			}
			return outcome("served until it expires, an hour after it was given")
		}},
		{"a download address after the repository was deleted and made again", "404: the layer is not there any more", func(t *testing.T, w *world) error {
			repo, i := w.a.filled(t)
			good := w.a.downloadURL(t, repo, i.layerDigest())
			must(w.a.ecr.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &repo, Force: true}))(t)
			gone := fetch(t, w, good)
			must(w.a.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo}))(t)
			return each(gone, fetch(t, w, good))
		}},
		{"a download address with ecr:BatchGetImage alone", "AccessDeniedException, because no identity-based policy allows the ecr:GetDownloadUrlForLayer action", func(t *testing.T, w *world) error {
			repo, i := w.a.filled(t)
			digest := i.layerDigest()
			_, err := w.a.user(t, can("ecr:BatchGetImage", repo)...).ecr.GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: &repo, LayerDigest: &digest})
			return err
		}},
		{"mounting a layer from a repository that may not be pulled; a layer that does not exist; from a repository that does not exist", emptyUpload, func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			secret, i := w.a.filled(t)
			u := w.a.user(t, can(pushing, mine)...)
			r := u.registry(t)
			refused := each(
				mount(t, r, mine, secret, i.layerDigest()), mount(t, r, mine, secret, harness.Digest([]byte("nothing"))),
				mount(t, r, mine, unique("repo"), i.layerDigest()))
			w.a.put(t, u.name, append(can(pushing, mine), allow(pulling, repoARN(accountA, secret)))...)
			if got := answerOf(mount(t, r, mine, secret, i.layerDigest())); !strings.HasPrefix(got, "201") {
				t.Errorf("with the permission the layer is not mounted: %s", got)
			}
			return refused
		}},
		{"mounting a layer of another account's repository", emptyUpload, func(t *testing.T, w *world) error {
			secret, i := w.a.filled(t)
			r := w.b.registry(t)
			mine := w.b.repo(t)
			return each(mount(t, r, mine, secret, i.layerDigest()), mount(t, r, mine, accountA+"/"+secret, i.layerDigest()),
				mount(t, r, mine, registryHost(accountA, home)+"/"+secret, i.layerDigest()))
		}},
		{"asking whether a layer of a secret repository exists: BatchCheckLayerAvailability and HEAD in a repository of one's own", "UNAVAILABLE, 404", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			_, i := w.a.filled(t)
			u := w.a.user(t, can(pushing, mine)...)
			out := must(u.ecr.BatchCheckLayerAvailability(t.Context(), &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: &mine, LayerDigests: []string{i.layerDigest()}}))(t)
			head := ask(t, u.registry(t), http.MethodHead, "/v2/"+mine+"/blobs/"+i.layerDigest(), http.StatusOK)
			return outcome(string(out.Layers[0].LayerAvailability) + ", " + answerOf(head))
		}},
		{"BatchCheckLayerAvailability of a secret repository, and of one that does not exist", "AccessDeniedException, because no identity-based policy allows the ecr:BatchCheckLayerAvailability action", func(t *testing.T, w *world) error {
			secret, i := w.a.filled(t)
			u := w.a.user(t, can(pushing, w.a.repo(t))...)
			var results []error
			for _, repo := range []string{secret, unique("repo")} {
				_, err := u.ecr.BatchCheckLayerAvailability(t.Context(), &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: &repo, LayerDigests: []string{i.layerDigest()}})
				results = append(results, err)
			}
			return each(results...)
		}},
		{"an image of one's own that names a secret layer without having it", "LayersNotFoundException", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			_, i := w.a.filled(t)
			u := w.a.user(t, can(pushing, mine)...)
			must(u.registry(t).PutBlob(t.Context(), mine, i.config))(t)
			_, err := u.ecr.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &mine, ImageManifest: aws.String(string(i.manifest))})
			return codeOf(err)
		}},
		{"an index of one's own that names a secret image", "ReferencedImagesNotFoundException", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			_, i := w.a.filled(t)
			index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{
				{MediaType: harness.OCIImage, Digest: harness.Digest(i.manifest), Size: int64(len(i.manifest))},
			}}.Bytes(t)
			_, err := w.a.user(t, can(pushing, mine)...).ecr.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &mine, ImageManifest: aws.String(string(index))})
			return codeOf(err)
		}},
		{"a path that leaves one's own repository: .., encoded slashes, doubled ones", "refused", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			secret, i := w.a.filled(t)
			r := w.a.user(t, can(pushing+" ecr:ListImages", mine)...).registry(t)
			for _, path := range []string{
				mine + "/../" + secret, mine + "%2f..%2f" + secret, mine + "/%2e%2e/" + secret, mine + "//" + secret, "/" + secret, "%2f" + secret,
				mine + "/manifests/v1/../../../" + secret, mine + "%00" + secret,
			} {
				for _, end := range []string{"/manifests/v1", "/blobs/" + i.layerDigest(), "/tags/list"} {
					a := must(r.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/" + path + end}))(t)
					if a.Status < 300 || a.Status >= 500 {
						return outcome(path + end + ": " + strconv.Itoa(a.Status))
					}
				}
			}
			return outcome("refused")
		}},
		{"finishing an upload of other bytes, or of none, under the digest of a secret layer", "400 DIGEST_INVALID", func(t *testing.T, w *world) error {
			mine := w.a.repo(t)
			_, i := w.a.filled(t)
			r := w.a.user(t, can(pushing, mine)...).registry(t)
			var results []error
			for _, content := range [][]byte{bytes.ToUpper(i.layer), nil} {
				location := must(r.StartUpload(t.Context(), mine))(t)
				results = append(results, codeOf(r.Finish(t.Context(), location, i.layerDigest(), content)))
			}
			return each(results...)
		}},
	}}
}
