package layer

import "testing"

func TestOpenUploads(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		s, r := w.node(), w.repo("app", "")
		ctx := t.Context()
		expect := func(want int64) {
			t.Helper()
			if n, err := s.OpenUploads(ctx); err != nil || n != want {
				t.Errorf("%d open uploads, %v; want %d", n, err, want)
			}
		}
		expect(0)
		first, err := s.Start(ctx, r)
		w.must(err)
		_, err = s.Start(ctx, r)
		w.must(err)
		expect(2)
		w.must(s.Cancel(ctx, r, first.ID))
		expect(1)
		w.push(s, r, random(10))
		expect(1)
	})
}
