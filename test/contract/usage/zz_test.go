package usage

import ("os"; "testing")

func TestZZWrite(t *testing.T) { head, _ := os.ReadFile("/tmp/h/w3-readme-head.md"); _ = os.WriteFile("README.md", []byte(string(head)+table()), 0o644) }
