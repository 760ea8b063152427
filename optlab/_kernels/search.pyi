class StrongWolfe:
    def __init__(
        self,
        f0: float,
        slope0: float,
        step0: float,
        c1: float,
        c2: float,
        max_step: float,
        noise: float,
    ) -> None: ...
    @property
    def step(self) -> float: ...
    def tell(self, f: float, slope: float) -> bool: ...
