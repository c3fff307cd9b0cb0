"""Hybrid jobs: scripts of users that run next to a device, in a sandbox of their own.

`contract` says what one is, `records` keeps them, `files` keeps what goes in and comes out,
`source` checks what is uploaded before anything of it runs, `stage` lays a job's folder out and
takes results from it, `inside` is what begins in the sandbox, and `jobs` runs them in their turn.
"""
