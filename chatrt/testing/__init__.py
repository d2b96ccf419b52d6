"""What people test with: conformance suites for what they write, and models and clocks that do as told."""
