"""``sage version``: which release of each package is installed."""

from __future__ import annotations

from sage.cli.options import DebugOption, JsonOption

__all__ = ["version"]


def version(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Print the versions of SAGE and Python."""
    from sage.cli.health.packages import installed_packages

    versions = installed_packages()
    if as_json:
        import platform

        from sage.cli.screen import print_json

        print_json(
            {
                "sage": versions.get("isage-cli"),
                "python": platform.python_version(),
                "packages": versions,
            }
        )
        return
    import platform

    print(f"sage {versions.get('isage-cli', 'unknown')} (Python {platform.python_version()})")
    width = max(map(len, versions), default=0)
    for name, number in versions.items():
        print(f"  {name:<{width}}  {number}")
